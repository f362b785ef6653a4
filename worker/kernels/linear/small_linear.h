// A linear layer of a small shape: one launch forward and one backward. A library takes several for each product, with
// the casts around it, and they take longer than the arithmetic. The meaning and the CPU twin are those of
// linear_cpu.h.
#pragma once

#include <ATen/core/Tensor.h>

#include "worker/kernels/linear/linear_cpu.h"

namespace mantissa::trainer {

// Whether a GPU is to take this way; fixed by types and shape alone, so that a run repeats its bits. Of low formats
// only: an FP32 product may have to be one of TF32.
bool SmallLinearPays(const at::Tensor& x, at::ScalarType compute, const cpu::LinearShape& shape);

// As cpu::LinearForward, on the device of the tensors.
void SmallLinearForward(at::ScalarType compute, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                        cpu::ActivationKind activation, const at::Tensor& before, const at::Tensor& result);

// As cpu::LinearBackward, on the device of the tensors; `gradient` is in the compute type.
void SmallLinearBackward(const at::Tensor& gradient, const at::Tensor& saved, cpu::ActivationKind activation,
                         const at::Tensor& x, const at::Tensor& weight, const at::Tensor& weight_gradient,
                         const at::Tensor& bias_gradient, const at::Tensor& input_gradient);

}  // namespace mantissa::trainer
