// The CUDA twin of dropout_mask.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"
#include "worker/kernels/dropout/dropout_draw.h"

namespace mantissa::trainer::cuda {

// `from` and `to` hold `count` numbers of the type, on the stream's device. `window`, there too, holds the iteration
// where it is not null; else it is the draw's.
void LaunchDropout(const kernels::DropoutDraw& draw, const std::int64_t* window, NumberType type, const void* from,
                   std::int64_t count, void* to, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
