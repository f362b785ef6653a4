// A model: its parameters, and the way from a batch to logits.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "mantissa/v1/training.pb.h"
#include "proto/spec/model_shape.h"
#include "worker/models/forward_context.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

// Not thread-safe.
class Model {
 public:
  virtual ~Model() = default;

  // Classifiers: (B, F) or (B, T, F) FP32 -> (B, classes). gpt: (B, T) int64 tokens -> (B x T, vocabulary). The logits
  // are in the policy's compute type.
  virtual at::Tensor Forward(const at::Tensor& input, const ForwardContext& context) = 0;

  ParameterBuffer& parameters() { return parameters_; }
  const ParameterBuffer& parameters() const { return parameters_; }
  // State that is not trained (batch-norm statistics); none of today's models has any.
  const std::vector<NamedTensor>& buffers() const { return buffers_; }

 protected:
  Model(const std::vector<spec::Parameter>& shapes, at::Device device) : parameters_(shapes, device) {}

  ParameterBuffer parameters_;
  std::vector<NamedTensor> buffers_;
};

// `model` has its defaults resolved and is valid. Parameters are drawn from (seed, parameter, element): the same on
// every device.
std::unique_ptr<Model> BuildModel(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed,
                                  at::Device device);

}  // namespace mantissa::trainer
