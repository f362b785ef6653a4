// What small_linear asks of its arguments, on CPU and CUDA alike.
#pragma once

#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/kernels/linear/linear_cpu.h"

namespace mantissa::trainer::kernels {

inline void CheckMatrix(const at::Tensor& tensor, std::int64_t rows, std::int64_t columns, at::ScalarType compute,
                        const char* name) {
  TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns && tensor.is_contiguous() &&
                  (tensor.scalar_type() == at::kFloat || tensor.scalar_type() == compute),
              name, " must be (", rows, ", ", columns, "), contiguous, in FP32 or ", compute);
}

// FP32 numbers of a parameter, or of its gradient; undefined ones are none.
inline void CheckFloats(const std::optional<at::Tensor>& tensor, std::int64_t count, const char* name) {
  if (!tensor.has_value() || !tensor->defined()) return;
  TORCH_CHECK(tensor->scalar_type() == at::kFloat && tensor->is_contiguous() && tensor->numel() == count, name,
              " must be ", count, " contiguous numbers in FP32");
}

// y (rows, out) in the compute type, x (rows, in) and weight (out, in) in that or FP32, activation_value (rows, out) in
// the compute type or none.
inline cpu::LinearShape CheckSmallLinear(const at::Tensor& y, const at::Tensor& x, const at::Tensor& weight,
                                         std::int64_t activation, const std::optional<at::Tensor>& activation_value) {
  const at::ScalarType compute = y.scalar_type();
  TORCH_CHECK(compute == at::kHalf || compute == at::kBFloat16, "small_linear computes in float16 or bfloat16, not ",
              compute);
  TORCH_CHECK(activation >= 0 && activation <= 3, "unknown activation ", activation);
  TORCH_CHECK(x.dim() == 2 && y.dim() == 2 && x.numel() > 0 && y.numel() > 0, "x and y must be matrices, not empty");
  const cpu::LinearShape shape{x.size(0), x.size(1), y.size(1)};
  CheckMatrix(y, shape.rows, shape.out, compute, "y");
  CheckMatrix(x, shape.rows, shape.in, compute, "x");
  CheckMatrix(weight, shape.out, shape.in, compute, "weight");
  if (activation_value.has_value() && activation_value->defined()) {
    CheckMatrix(*activation_value, shape.rows, shape.out, compute, "what is kept of the activation");
    TORCH_CHECK(activation_value->scalar_type() == compute, "what is kept of the activation must be in ", compute);
  }
  return shape;
}

}  // namespace mantissa::trainer::kernels
