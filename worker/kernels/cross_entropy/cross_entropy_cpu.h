// The CPU twin of the cross-entropy kernels. All tensors contiguous; see cross_entropy.h for the formulas.
#pragma once

#include <ATen/core/Tensor.h>

namespace mantissa::trainer::cpu {

// Throws c10::Error on a target outside [0, classes) that is not the ignored one.
void CrossEntropyForward(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& sum,
                         const at::Tensor& normalizers);
// `gradient`: one FP32 element. Writes `result`, in the logits' type; it may be the logits themselves.
void CrossEntropyBackward(const at::Tensor& gradient, const at::Tensor& logits, const at::Tensor& targets,
                          const at::Tensor& normalizers, const at::Tensor& result);

}  // namespace mantissa::trainer::cpu
