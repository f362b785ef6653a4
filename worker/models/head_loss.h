// The end of a model whose logits come from one linear layer: forward and backward pass of that layer and of the loss,
// over some rows at a time, so that the logits of a large vocabulary are never in memory at once.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "proto/spec/head_rows.h"
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

// Adds to the gradients of the layer's parameters. `seed` is one FP32 number on the features' device; targets (N) as in
// PrecisionPolicy::CrossEntropy. A probe sees all logits at once.
HeadLoss RunHead(const HeadInput& input, const at::Tensor& targets, const at::Tensor& seed,
                 const ForwardContext& context, std::int64_t most_bytes = spec::kMostLogitsBytes);

}  // namespace mantissa::trainer
