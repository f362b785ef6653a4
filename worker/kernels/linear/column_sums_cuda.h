// The second stage of a bias's gradient whose first was part of another pass (column_sums.h).
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// partials (parts, columns): their sums, rounded through `type`, are added to bias_gradient (columns). All on the
// stream's device, without gaps.
void LaunchColumnSums(const float* partials, std::int64_t parts, std::int64_t columns, NumberType type,
                      float* bias_gradient, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
