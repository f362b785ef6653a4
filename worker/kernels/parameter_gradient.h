// Where the backward pass of a layer's own node adds to.
#pragma once

#include <utility>

#include <ATen/core/Tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/TensorImpl.h>
#include <c10/util/intrusive_ptr.h>

namespace mantissa::trainer::kernels {

// Goes with a gradient whose first part in an iteration may be written instead of added to zeros, which saves two
// passes over its memory. Until then what the memory holds means nothing.
struct FirstPart : public c10::BackendMeta {
  bool awaited = false;
};

// From now on the gradient has one, which lives as long.
inline FirstPart& LetFirstPartBeWritten(const at::Tensor& gradient) {
  auto part = c10::make_intrusive<FirstPart>();
  FirstPart& result = *part;
  gradient.unsafeGetTensorImpl()->set_backend_meta(std::move(part));
  return result;
}

// Whether whoever asks is to write the gradient, as its first part in this iteration: who asks next is to add.
inline bool TakeFirstPart(const at::Tensor& gradient) {
  auto* const part = dynamic_cast<FirstPart*>(gradient.unsafeGetTensorImpl()->get_backend_meta());
  return part != nullptr && std::exchange(part->awaited, false);
}

// The parameter's .grad to be added to or, by the first, written (TakeFirstPart); zeros where there was none; undefined
// without a parameter, or where it needs no gradient.
inline at::Tensor UnbegunGradientOf(const at::Tensor& parameter) {
  if (!parameter.defined() || !parameter.requires_grad()) return {};
  at::Tensor& gradient = parameter.mutable_grad();
  if (!gradient.defined()) gradient = at::zeros_like(parameter, at::TensorOptions().requires_grad(false));
  return gradient;
}

// The same, to be added to.
inline at::Tensor GradientOf(const at::Tensor& parameter) {
  at::Tensor gradient = UnbegunGradientOf(parameter);
  if (gradient.defined() && TakeFirstPart(gradient)) gradient.zero_();
  return gradient;
}

}  // namespace mantissa::trainer::kernels
