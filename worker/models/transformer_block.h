// The parameters of one attention and feed-forward layer, looked up once: shared by the models that have such layers.
#pragma once

#include <cstdint>
#include <string>

#include "worker/amp/precision_policy.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

struct TransformerBlock {
  // `path`: `layers.0`.
  TransformerBlock(const ParameterBuffer& parameters, const std::string& path);

  // x (B, T, d) -> (B, T, d) in the policy's compute type.
  at::Tensor Attend(const at::Tensor& x, const PrecisionPolicy& policy, std::int64_t heads, bool causal) const;
  at::Tensor FeedForward(const at::Tensor& x, const PrecisionPolicy& policy, Activation activation) const;

  LinearParameters qkv;
  LinearParameters proj;
  LinearParameters up;
  LinearParameters down;
  LinearParameters norm1;
  LinearParameters norm2;
};

}  // namespace mantissa::trainer
