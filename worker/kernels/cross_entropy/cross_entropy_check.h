// What cross_entropy_and_gradient asks of its arguments beyond check.h, on CPU and CUDA alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

namespace mantissa::trainer::kernels {

inline void CheckIncoming(const at::Tensor& incoming) {
  TORCH_CHECK(incoming.scalar_type() == at::kFloat && incoming.numel() == 1, "incoming must be one FP32 number");
}

}  // namespace mantissa::trainer::kernels
