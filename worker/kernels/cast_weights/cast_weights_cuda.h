// The CUDA twin of cast_weights, and what the optimizers' twins take to do the same.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/amp/step_state.h"
#include "worker/kernels/cast_weights/stored_weight.h"
#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// Weights that are kept in a low format beside their FP32 values, on the stream's device.
struct LowWeights {
  const StoredWeight* places = nullptr;     // one for each parameter
  NumberType type = NumberType::kBfloat16;  // kHalf or kBfloat16
  void* weights = nullptr;                  // null: none are kept
};

// All on the stream's device.
void LaunchCastWeights(const float* values, const Chunk* chunks, std::int64_t chunk_count, const LowWeights& low,
                       cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
