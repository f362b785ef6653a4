// The CUDA twin of begin_iteration.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"
#include "worker/data/sample_order.h"

namespace mantissa::trainer::cuda {

// All on the stream's device. `gradients`, of which the chunks in `zeroed` become zero, and `window` may be null.
void LaunchBeginIteration(const StepState* state, double targets, float* seed, float* gradients, const Chunk* zeroed,
                          std::int64_t zeroed_count, const WindowRange* skipped, std::int64_t skipped_count,
                          std::int64_t* window, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
