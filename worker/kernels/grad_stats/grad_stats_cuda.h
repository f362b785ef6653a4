// The CUDA twin of grad_stats.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer::cuda {

// `chunk_stats`: a row for each chunk; `stats`: one for each parameter. All on the stream's device.
void LaunchGradStats(const float* gradients, std::int64_t gradient_count, const Chunk* chunks, std::int64_t chunk_count,
                     const StepState* state, GradientStats* chunk_stats, GradientStats* stats,
                     std::int64_t parameter_count, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
