#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/models/model.h"
#include "worker/models/transformer_block.h"

namespace mantissa::trainer {

// Post-norm attention and feed-forward layers, mean over time, linear head. Dropout follows each of a layer's two
// parts, before the residual sum; there is none on attention weights, which would rule out fused attention. The
// residual stream is FP32. Not thread-safe.
class TransformerEncoder : public Model {
 public:
  TransformerEncoder(const v1::Model& model, const spec::SampleShape& sample, std::uint64_t seed, at::Device device);

  // (B, T, F), or (B, F) as one position.
  at::Tensor Forward(const at::Tensor& input, const ForwardContext& context) override;

 private:
  std::optional<LinearParameters> input_;  // where F is not d_model
  std::vector<TransformerBlock> layers_;
  LinearParameters head_;
  std::int64_t heads_;
  Activation activation_;
  double dropout_;
};

}  // namespace mantissa::trainer
