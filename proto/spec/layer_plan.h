// The layers of convnet, sequential and pathological, each with the shapes it reads and gives and what it holds: the
// one description that validation, the counts of parameters and bytes, and the trainer's model are made from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/spec/checker.h"
#include "proto/spec/model_shape.h"

namespace mantissa::spec {

// Of one sample: (features), (time, features), (channels, rows, columns) or (channels, depth, rows, columns); (time) of
// tokens.
using Shape = std::vector<std::int64_t>;

struct LayerPlan {
  std::string path;  // of the module: `layers.2`; inside a residual group `layers.2.layers.0`
  v1::Layer layer;   // its defaults resolved
  Shape input;
  Shape output;
  std::vector<Parameter> parameters;  // its own, not those of a group's layers
  std::vector<Parameter> buffers;     // running statistics
  std::vector<LayerPlan> inner;       // of a residual group
  // Multiply-adds of one sample's forward pass through this layer alone.
  std::int64_t operations = 0;
  std::optional<double> initial_weight;  // every weight starts with it
};

// The kinds that are a list of layers.
bool IsLayered(const v1::Model& model);

// Nothing, and a violation at the first layer that does not fit what it is given. `model` has its defaults resolved and
// its own fields are right; `checker` stands at it. Shapes of more than 2^30 numbers are refused.
std::optional<std::vector<LayerPlan>> PlanLayers(const v1::Model& model, const SampleShape& sample, Checker checker);

// The same for a model that fits; empty when it does not.
std::vector<LayerPlan> PlanLayers(const v1::Model& model, const SampleShape& sample);

// Numbers in a shape; saturates.
std::int64_t Elements(const Shape& shape);

// Layers and those of their groups, in the order of a forward pass.
template <class Visit>
void ForEachLayer(const std::vector<LayerPlan>& layers, const Visit& visit) {
  for (const LayerPlan& layer : layers) {
    ForEachLayer(layer.inner, visit);
    visit(layer);
  }
}

// Products of one sample's forward pass through all of them; saturates.
std::int64_t OperationsOf(const std::vector<LayerPlan>& layers);

}  // namespace mantissa::spec
