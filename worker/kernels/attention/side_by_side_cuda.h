// Three gradients put side by side, as attention's input is; of CUDA's only.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// Matrices of a low type, contiguous and aligned to 16 bytes, on the stream's device.
struct SideBySide {
  NumberType type = NumberType::kBfloat16;  // not kFloat
  std::int64_t rows = 0;
  std::int64_t width = 0;                              // a multiple of 8
  const void* parts[3] = {nullptr, nullptr, nullptr};  // (rows, width)
  void* result = nullptr;                              // (rows, 3 x width)
  float* partials = nullptr;                           // room for (SideBySideParts, 3 x width): the result's sums
};

// Given by the shape alone, so that a sum has the same bits every time.
std::int64_t SideBySideParts(std::int64_t rows, std::int64_t width);

void LaunchSideBySide(const SideBySide& work, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
