// A model: its parameters and buffers, and the way from a batch to logits.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"
#include "worker/amp/iteration.h"
#include "worker/models/forward_context.h"
#include "worker/models/head_loss.h"
#include "worker/models/parameter_buffer.h"
#include "worker/models/running_statistics.h"

namespace mantissa::trainer {

// Not thread-safe.
class Model {
 public:
  virtual ~Model() = default;

  // Classifiers: (B, ...) FP32, a sample's shape after the batch -> (B, classes). Models of tokens: (B, T) int64 ->
  // (B x T, vocabulary). The logits are in a type of the policy's.
  virtual at::Tensor Forward(const at::Tensor& input, const ForwardContext& context) = 0;

  // Forward but for the last step, of a model whose logits one linear layer makes of rows of features: RunHead does
  // that step together with the loss. Nothing: the model has no such end, or one too small to gain by it.
  virtual std::optional<HeadInput> ForwardToHead(const at::Tensor& /*input*/, const ForwardContext& /*context*/) {
    return std::nullopt;
  }

  ParameterBuffer& parameters() { return parameters_; }
  const ParameterBuffer& parameters() const { return parameters_; }
  // State that is not trained (batch-norm statistics), as the last applied iteration left it.
  const std::vector<NamedTensor>& buffers() const { return statistics_.committed(); }

  // A window's forward passes in training move the buffers on by themselves only. Before the first of them:
  void BeginWindow() { statistics_.Begin(); }
  // Between verdict and scale: what they made of the buffers becomes the state, unless the iteration is skipped.
  // Nothing is read back from the device.
  void CommitBuffers(const IterationState& iteration) {
    if (!buffers().empty()) statistics_.Commit(iteration.Applied());
  }

 protected:
  Model(const std::vector<spec::Parameter>& shapes, at::Device device) : parameters_(shapes, device) {}

  ParameterBuffer parameters_;
  RunningStatistics statistics_;
};

// `model` has its defaults resolved and is valid. Parameters are drawn from (seed, parameter, element): the same on
// every device.
std::unique_ptr<Model> BuildModel(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed,
                                  at::Device device);

}  // namespace mantissa::trainer
