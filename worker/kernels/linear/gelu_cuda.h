// GELU by tanh of a low type, on CUDA.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// result[i] = GELU(from[i]), rounded once. Both of `type`, which is not kFloat, without gaps, on the stream's device.
void LaunchGelu(const void* from, NumberType type, std::int64_t count, void* result, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
