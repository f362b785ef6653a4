// The parameters of one attention and feed-forward layer, looked up once: shared by the models that have such layers.
#pragma once

#include <cstdint>
#include <string>

#include "worker/models/forward_context.h"
#include "worker/models/parameter_buffer.h"

namespace mantissa::trainer {

struct TransformerBlock {
  // `path`: `layers.0`.
  TransformerBlock(const ParameterBuffer& parameters, const std::string& path);

  // x (B, T, d) -> (B, T, d) in the policy's compute type.
  at::Tensor Attend(const at::Tensor& x, const ForwardContext& context, std::int64_t heads, bool causal) const;
  at::Tensor FeedForward(const at::Tensor& x, const ForwardContext& context, Activation activation) const;

  std::string attention;  // path of the module
  LinearParameters qkv;
  LinearParameters proj;
  LinearParameters up;
  LinearParameters down;
  LinearParameters norm1;
  LinearParameters norm2;
};

}  // namespace mantissa::trainer
