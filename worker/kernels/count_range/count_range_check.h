// What count_range asks of its arguments, on CPU and CUDA alike.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "worker/amp/range_counts.h"

namespace mantissa::trainer::kernels {

inline RangeCounts* CheckCounts(const at::Tensor& values, const at::Tensor& counts) {
  TORCH_CHECK(values.scalar_type() == at::kFloat && values.is_contiguous(), "values must be FP32 and contiguous");
  TORCH_CHECK(counts.scalar_type() == at::kLong && counts.is_contiguous() && counts.dim() == 1 && counts.size(0) == 4,
              "counts must be int64 (4)");
  return reinterpret_cast<RangeCounts*>(counts.data_ptr());
}

}  // namespace mantissa::trainer::kernels
