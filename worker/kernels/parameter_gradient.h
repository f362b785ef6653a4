// Where the backward pass of a layer's own node adds to.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>

namespace mantissa::trainer::kernels {

// The parameter's .grad, zeros where there was none; undefined without a parameter, or where it needs no gradient.
inline at::Tensor GradientOf(const at::Tensor& parameter) {
  if (!parameter.defined() || !parameter.requires_grad()) return {};
  at::Tensor& gradient = parameter.mutable_grad();
  if (!gradient.defined()) gradient = at::zeros_like(parameter, at::TensorOptions().requires_grad(false));
  return gradient;
}

}  // namespace mantissa::trainer::kernels
