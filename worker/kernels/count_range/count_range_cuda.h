// The CUDA twin of count_range.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/range_counts.h"

namespace mantissa::trainer::cuda {

// Of `count` values, at least one, to what `counts` holds already. Both are on the stream's device.
void LaunchCountRange(const float* values, std::int64_t count, RangeLimits limits, RangeCounts* counts,
                      cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
