// A linear layer with its activation on CPU, in FP32 arithmetic: operands are rounded to the compute type, multiplied
// and summed in FP32, and each result is rounded once, as tensor cores do. That is the only usable FP16 on CPUs (their
// own is emulated: 4 to 100 times slower). For BF16 it beats the library's product at the sizes of small models, and
// at every size where the CPU has no BF16 arithmetic.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "worker/kernels/cpu/activation.h"

namespace mantissa::trainer::cpu {

struct LinearShape {
  std::int64_t rows = 0;
  std::int64_t in = 0;
  std::int64_t out = 0;
};

// Whether this way is to be taken; fixed by type, shape and CPU alone, so that a run repeats its bits.
bool LinearPays(at::ScalarType compute, const LinearShape& shape);

// x (rows, in) and weight (out, in) in FP32 or the compute type; bias (out, or undefined) FP32; all contiguous.
// `result` (rows, out) in the compute type; `before` gets what went into the activation, where it is defined.
void LinearForward(at::ScalarType compute, const LinearShape& shape, const at::Tensor& x, const at::Tensor& weight,
                   const at::Tensor& bias, ActivationKind activation, const at::Tensor& before,
                   const at::Tensor& result);

// `gradient` (rows, out) in the compute type; `saved`: result, or what went into GELU. Adds to the FP32 gradients of
// weight and bias (where defined); writes `input_gradient` (rows, in), FP32 or the compute type, where it is defined.
void LinearBackward(at::ScalarType compute, const LinearShape& shape, const at::Tensor& gradient,
                    const at::Tensor& saved, ActivationKind activation, const at::Tensor& x, const at::Tensor& weight,
                    const at::Tensor& weight_gradient, const at::Tensor& bias_gradient,
                    const at::Tensor& input_gradient);

}  // namespace mantissa::trainer::cpu
