// The CUDA twin of fill_initial_.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/initial_values/initial_draw.h"

namespace mantissa::trainer::cuda {

// `values` holds `count` numbers on the stream's device.
void LaunchFillInitial(const kernels::InitialDraw& draw, std::int64_t count, float* values, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
