// The CUDA twin of adam.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"
#include "worker/kernels/cast_weights/cast_weights_cuda.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer::cuda {

// Flat FP32 buffers of one layout.
struct AdamBuffers {
  float* parameters = nullptr;
  const float* gradients = nullptr;
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
};

// All on the stream's device; `rules`: one for each parameter; `low` follows the parameters.
void LaunchAdam(const AdamBuffers& buffers, const Chunk* chunks, std::int64_t chunk_count, const UpdateRule* rules,
                const OptimizerSettings* settings, StepState* state, const LowWeights& low, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
