// The loss of a training pass, and what the backward pass begins with.
#pragma once

#include <ATen/core/Tensor.h>

namespace mantissa::trainer {

struct LossGradient {
  at::Tensor loss_sum;  // PrecisionPolicy::CrossEntropy's, 0-dim
  at::Tensor gradient;  // of seed x loss_sum by the logits, in their type
};

// logits (N, C), targets as in PrecisionPolicy::CrossEntropy, `seed` one FP32 number on the same device. Begin the
// backward pass at the logits. `overwrite`: nobody reads the logits any more, and the gradient may take their place.
LossGradient CrossEntropyAndGradient(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& seed,
                                     bool overwrite);

}  // namespace mantissa::trainer
