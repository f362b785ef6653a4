// Adds a weight's gradient, as a product in a low format leaves it, to the FP32 sum.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// gradient[i] += part[i], exact but for the sum's rounding. Both without gaps, on the stream's device.
void LaunchAddGradient(float* gradient, const void* part, NumberType type, std::int64_t count, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
