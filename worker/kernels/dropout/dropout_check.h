// What dropout asks of its arguments, on CPU and CUDA alike.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace mantissa::trainer::kernels {

inline const std::int64_t* DropoutWindow(const at::Tensor& window) {
  TORCH_CHECK(window.scalar_type() == at::kLong && window.numel() == 1, "window must be one int64");
  return window.const_data_ptr<std::int64_t>();
}

}  // namespace mantissa::trainer::kernels
