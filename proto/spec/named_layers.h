// The kinds of model that are a list of layers, written out as one. For proto/spec alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/model.pb.h"
#include "proto/spec/checker.h"

namespace mantissa::spec {

struct NamedLayer {
  std::string path;  // of the module
  v1::Layer layer;
  Checker at;  // where its faults are said
  std::optional<double> initial_weight;
};

// `model` has its defaults resolved and is of such a kind; `checker` stands at it.
std::vector<NamedLayer> NamedLayers(const v1::Model& model, Checker checker);

// The layers of a list in a spec, which `checker` stands above; `path` is of the module they are in, empty for the
// model itself.
std::vector<NamedLayer> NamedLayers(const google::protobuf::RepeatedPtrField<v1::Layer>& layers,
                                    const std::string& path, const Checker& checker);

}  // namespace mantissa::spec
