// The CUDA twin of sgd.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"
#include "worker/kernels/cast_weights/cast_weights_cuda.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer::cuda {

// Flat FP32 buffers of one layout.
struct SgdBuffers {
  float* parameters = nullptr;
  const float* gradients = nullptr;
  float* momentum = nullptr;  // null: none
};

// All on the stream's device; `rules`: one for each parameter; `low` follows the parameters.
void LaunchSgd(const SgdBuffers& buffers, const Chunk* chunks, std::int64_t chunk_count, const UpdateRule* rules,
               const OptimizerSettings* settings, StepState* state, const LowWeights& low, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
