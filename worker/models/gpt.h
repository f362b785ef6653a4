#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/models/model.h"
#include "worker/models/transformer_block.h"

namespace mantissa::trainer {

// GPT-2: token and position embeddings, pre-norm blocks with causal attention and tanh-GELU, final norm, head tied to
// the token embedding. Dropout follows the embeddings and each of a block's two parts; there is none on attention
// weights, which would rule out fused attention. The residual stream is FP32. Not thread-safe.
class Gpt : public Model {
 public:
  Gpt(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed, at::Device device);

  // Tokens (B, T) with T at most the context -> (B x T, vocabulary).
  at::Tensor Forward(const at::Tensor& input, const ForwardContext& context) override;
  std::optional<HeadInput> ForwardToHead(const at::Tensor& input, const ForwardContext& context) override;

 private:
  void Initialise(std::uint64_t seed, std::int64_t layers);

  at::Tensor token_embedding_;
  at::Tensor position_embedding_;
  std::vector<TransformerBlock> blocks_;
  LinearParameters norm_;
  LinearParameters head_;  // its weight is the token embedding
  std::int64_t heads_;
  double dropout_;
};

}  // namespace mantissa::trainer
