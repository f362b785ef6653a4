#pragma once

#include <cstdint>
#include <vector>

#include "proto/spec/layer_plan.h"
#include "worker/models/model.h"

namespace mantissa::trainer {

// Any list of layers: convnet, sequential, pathological. What its layers are is said by spec::PlanLayers. Not
// thread-safe.
class LayeredModel : public Model {
 public:
  LayeredModel(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed, at::Device device);

  at::Tensor Forward(const at::Tensor& input, const ForwardContext& context) override;

 private:
  // A layer of the plan with its tensors, looked up once.
  struct Layer {
    spec::LayerPlan plan;
    LinearParameters own;  // undefined where the layer has none; the bias of an embedding: its positions
    LinearParameters qkv;
    LinearParameters proj;
    at::Tensor committed_mean, committed_variance;
    at::Tensor pending_mean, pending_variance;
    std::int32_t site = 0;  // of a dropout
    std::vector<Layer> inner;
  };

  std::vector<Layer> Resolve(const std::vector<spec::LayerPlan>& plans);
  void SetInitialWeights(const std::vector<Layer>& layers);

  at::Tensor Run(const std::vector<Layer>& layers, at::Tensor x, const ForwardContext& context) const;
  at::Tensor RunOne(const Layer& layer, const at::Tensor& x, const ForwardContext& context) const;
  at::Tensor BatchNorm(const Layer& layer, const v1::Layer::BatchNorm& options, const at::Tensor& x,
                       const ForwardContext& context) const;

  std::vector<Layer> layers_;
  std::int32_t dropouts_ = 0;
  bool tokens_;
};

}  // namespace mantissa::trainer
