#include "worker/models/transformer_block.h"

namespace mantissa::trainer {

TransformerBlock::TransformerBlock(const ParameterBuffer& parameters, const std::string& path)
    : attention(path + ".attention"),
      qkv(parameters.LinearAt(path + ".attention.qkv")),
      proj(parameters.LinearAt(path + ".attention.proj")),
      up(parameters.LinearAt(path + ".feed_forward.up")),
      down(parameters.LinearAt(path + ".feed_forward.down")),
      norm1(parameters.LinearAt(path + ".norm1")),
      norm2(parameters.LinearAt(path + ".norm2")) {}

at::Tensor TransformerBlock::Attend(const at::Tensor& x, const ForwardContext& context, std::int64_t heads,
                                    bool causal) const {
  const at::Tensor mixed = context.policy.Of(attention).Attention(context.Linear(qkv, x), heads, causal);
  return context.Linear(proj, context.Pass(attention, mixed));
}

at::Tensor TransformerBlock::FeedForward(const at::Tensor& x, const ForwardContext& context,
                                         Activation activation) const {
  return context.Linear(down, context.Linear(up, x, activation));
}

}  // namespace mantissa::trainer
