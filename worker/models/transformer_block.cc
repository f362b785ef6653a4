#include "worker/models/transformer_block.h"

namespace mantissa::trainer {

TransformerBlock::TransformerBlock(const ParameterBuffer& parameters, const std::string& path)
    : qkv(parameters.LinearAt(path + ".attention.qkv")),
      proj(parameters.LinearAt(path + ".attention.proj")),
      up(parameters.LinearAt(path + ".feed_forward.up")),
      down(parameters.LinearAt(path + ".feed_forward.down")),
      norm1(parameters.LinearAt(path + ".norm1")),
      norm2(parameters.LinearAt(path + ".norm2")) {}

at::Tensor TransformerBlock::Attend(const at::Tensor& x, const PrecisionPolicy& policy, std::int64_t heads,
                                    bool causal) const {
  return policy.Linear(policy.Attention(policy.Linear(x, qkv.weight, qkv.bias), heads, causal), proj.weight, proj.bias);
}

at::Tensor TransformerBlock::FeedForward(const at::Tensor& x, const PrecisionPolicy& policy,
                                         Activation activation) const {
  return policy.Linear(policy.Linear(x, up.weight, up.bias, activation), down.weight, down.bias);
}

}  // namespace mantissa::trainer
