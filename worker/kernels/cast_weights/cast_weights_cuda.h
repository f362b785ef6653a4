// The CUDA twin of cast_weights.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"
#include "worker/kernels/cast_weights/stored_weight.h"
#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// All on the stream's device; `places`: one for each parameter; `weights` of the type `low`, which is not kFloat.
void LaunchCastWeights(const float* values, const Chunk* chunks, std::int64_t chunk_count, const StoredWeight* places,
                       NumberType low, void* weights, const StepState* state, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
