// The end of a model whose logits come from one linear layer: forward and backward pass of that layer and of the loss,
// over some rows at a time, so that the logits of a large vocabulary are never in memory at once.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "worker/models/forward_context.h"

namespace mantissa::trainer {

// What the last linear layer reads, and that layer. The layer is the model's.
struct HeadInput {
  at::Tensor features;  // (N, in), with the history of the forward pass so far
  const LinearParameters& head;
};

struct HeadLoss {
  at::Tensor loss_sum;  // PrecisionPolicy::CrossEntropy's, 0-dim
  at::Tensor gradient;  // of seed x loss_sum by the features, in their type: the backward pass goes on with it
};

// More rows at a time would take more memory, fewer leave processors of a large GPU idle: of GPT-2's 32 x 1024 rows the
// product that gives the features' gradient has, in three pieces, two tiles of 128 x 256 for each of 132 processors.
inline constexpr std::int64_t kMostLogitsBytes = std::int64_t{5} << 28;

// Rows of logits at a time, `row_bytes` each: all, or pieces of one size but for the last, a multiple of 128 rows, of
// about `most_bytes` where that are so many.
std::int64_t RowsAtOnce(std::int64_t rows, std::int64_t row_bytes, std::int64_t most_bytes);

// Adds to the gradients of the layer's parameters. `seed` is one FP32 number on the features' device; targets (N) as in
// PrecisionPolicy::CrossEntropy. A probe sees all logits at once.
HeadLoss RunHead(const HeadInput& input, const at::Tensor& targets, const at::Tensor& seed,
                 const ForwardContext& context, std::int64_t most_bytes = kMostLogitsBytes);

}  // namespace mantissa::trainer
