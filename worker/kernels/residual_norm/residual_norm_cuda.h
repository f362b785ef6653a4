// The CUDA twins of residual_norm. All pointers are on the stream's device; rows follow each other without a gap.
#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "worker/kernels/cuda/number_type.h"
#include "worker/kernels/dropout/dropout_draw.h"

namespace mantissa::trainer::cuda {

// Of forward and backward alike.
struct NormRows {
  NumberType type = NumberType::kFloat;  // of branch, low and their gradients
  std::int64_t rows = 0;
  std::int64_t width = 0;  // at most kernels::kMostNormWidth
  const float* weight = nullptr;
  kernels::DropoutDraw draw;             // of the branch; nothing is dropped with a threshold of 0
  const std::int64_t* window = nullptr;  // holds the iteration where it is not null; else it is the draw's
};

struct ResidualNormForward {
  NormRows of;
  const float* x = nullptr;
  const void* branch = nullptr;  // null: there is none, and the sum is x
  const float* bias = nullptr;
  float epsilon = 0;
  float* sum = nullptr;  // not written where null, as are norm and low
  float* norm = nullptr;
  void* low = nullptr;
  float* means = nullptr;               // (rows)
  float* inverse_deviations = nullptr;  // (rows)
};

struct ResidualNormBackward {
  NormRows of;
  const float* sum_gradient = nullptr;  // null: 0, as with the other two
  const float* norm_gradient = nullptr;
  std::int64_t norm_gradient_repeats = 1;  // so many rows that follow each other have one row of norm_gradient
  const void* low_gradient = nullptr;
  const float* sum = nullptr;
  const float* means = nullptr;
  const float* inverse_deviations = nullptr;
  float* x_gradient = nullptr;  // not written where null, as is branch_gradient
  void* branch_gradient = nullptr;
  float* weight_gradient = nullptr;  // (width), added to where not null, as is bias_gradient
  float* bias_gradient = nullptr;
  float* partials = nullptr;  // room for (ResidualNormParts, 2, width)
};

// Given by the shape alone, so that a sum over rows has the same bits every time.
std::int64_t ResidualNormParts(std::int64_t rows, std::int64_t width);

void LaunchResidualNormForward(const ResidualNormForward& work, cudaStream_t stream);
void LaunchResidualNormBackward(const ResidualNormBackward& work, cudaStream_t stream);

}  // namespace mantissa::trainer::cuda
