// The CUDA twin of a linear layer's way back to what its product was: the activation's derivative and the gradient of
// the bias, in one pass over the incoming gradient.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cpu/activation.h"
#include "worker/kernels/cuda/number_type.h"

namespace mantissa::trainer::cuda {

// Matrices (rows, columns) of a type, contiguous, on the stream's device.
struct ActivationBackward {
  NumberType type = NumberType::kFloat;
  cpu::ActivationKind activation = cpu::ActivationKind::kNone;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const void* gradient = nullptr;
  const void* saved = nullptr;     // as in cpu/activation.h; not read without an activation
  void* result = nullptr;          // gradient x derivative; not written without an activation
  float* bias_gradient = nullptr;  // (columns): the result's sums are rounded to the type and added; null: not wanted
  float* partials = nullptr;       // room for ActivationBackwardParts x columns
};

// How many partial sums of each column a launch leaves before they are added up; given by the shape alone, so that a
// sum has the same bits every time.
std::int64_t ActivationBackwardParts(NumberType type, std::int64_t rows, std::int64_t columns);

void LaunchActivationBackward(const ActivationBackward& work, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
