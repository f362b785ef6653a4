// Sums over the rows of a gradient that a kernel leaves as it writes it: the gradient of a bias, once they are added
// up, without a pass over the matrix for it.
#pragma once

#include <cstdint>
#include <utility>

#include <ATen/core/Tensor.h>
#include <c10/core/TensorImpl.h>
#include <c10/util/intrusive_ptr.h>

namespace mantissa::trainer::kernels {

// Goes with the gradient to whoever takes it.
struct ColumnSums : public c10::BackendMeta {
  at::Tensor partials;  // (parts, columns) FP32
  std::int64_t version = 0;
};

inline void LeaveColumnSums(const at::Tensor& gradient, const at::Tensor& partials) {
  auto sums = c10::make_intrusive<ColumnSums>();
  sums->partials = partials;
  sums->version = gradient._version();
  gradient.unsafeGetTensorImpl()->set_backend_meta(std::move(sums));
}

// Undefined: none were left, or something was added to the gradient since.
inline at::Tensor ColumnSumsOf(const at::Tensor& gradient) {
  const auto* const sums = dynamic_cast<ColumnSums*>(gradient.unsafeGetTensorImpl()->get_backend_meta());
  return sums != nullptr && sums->version == gradient._version() ? sums->partials : at::Tensor();
}

}  // namespace mantissa::trainer::kernels
