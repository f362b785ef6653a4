// What fill_initial_ asks of its arguments, on CPU and CUDA alike.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/kernels/initial_values/initial_draw.h"

namespace mantissa::trainer::kernels {

inline InitialDraw CheckInitial(const at::Tensor& values, std::int64_t seed, std::int64_t parameter, double width,
                                bool normal) {
  TORCH_CHECK(values.scalar_type() == at::kFloat && values.is_contiguous(), "values must be contiguous and FP32");
  return {static_cast<std::uint64_t>(seed), static_cast<std::uint32_t>(parameter), normal, width};
}

}  // namespace mantissa::trainer::kernels
