// LibTorch's number types as the kernels know them.
#pragma once

#include <c10/core/ScalarType.h>
#include <c10/util/Exception.h>

#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::kernels {

// `op` has no kernel for any other.
inline cuda::NumberType TypeOf(at::ScalarType type, const char* op) {
  switch (type) {
    case at::kFloat:
      return cuda::NumberType::kFloat;
    case at::kHalf:
      return cuda::NumberType::kHalf;
    case at::kBFloat16:
      return cuda::NumberType::kBfloat16;
    default:
      TORCH_CHECK(false, op, " of ", type);
  }
}

}  // namespace mantissa::trainer::kernels
