// What one forward pass is run with, and the way of every module's output through it.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

#include "worker/amp/precision_policy.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

// Sees, and may replace, the output of every module in forward order: to find where a value stopped being finite, to
// measure ranges, to plant a fault in a test. It must not keep the tensor beyond the iteration.
class ActivationProbe {
 public:
  virtual ~ActivationProbe() = default;

  // `module`: `blocks.0.attention.qkv`, as in the parameters' paths. Returns what the forward pass goes on with.
  virtual at::Tensor Pass(const std::string& module, const at::Tensor& output) = 0;
};

struct ForwardContext {
  const PrecisionPolicy& policy;
  RandomKey key;  // dropout draws from it
  bool training = true;
  ActivationProbe* probe = nullptr;  // none: outputs go on as they are

  at::Tensor Pass(const std::string& module, const at::Tensor& output) const {
    return probe == nullptr ? output : probe->Pass(module, output);
  }
  at::Tensor Linear(const LinearParameters& layer, const at::Tensor& x,
                    Activation activation = Activation::kNone) const {
    return Pass(layer.path, policy.Of(layer.path).Linear(x, layer.weight, layer.bias, activation, layer.stored()));
  }
  at::Tensor LayerNorm(const LinearParameters& norm, const at::Tensor& x) const {
    return Pass(norm.path, policy.LayerNorm(x, norm.weight, norm.bias));
  }
};

}  // namespace mantissa::trainer
