// The second stage of sums over the rows of a matrix: adds up what blocks have left, always in the same order.
#pragma once

#include <cstdint>

#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"

namespace mantissa::trainer::cuda {

inline constexpr int kSumColumns = 32;  // of a block
inline constexpr int kSumRows = 8;      // that are summed at once

// partials (parts, gridDim.y, columns): the sums of [0] are rounded through T and added to `first`, those of [1] to
// `second`, FP32 (columns), or nowhere where that is null. Blocks of (kSumColumns, kSumRows).
template <class T>
__global__ void AddColumnSums(const float* partials, std::int64_t parts, std::int64_t columns, float* first,
                              float* second) {
  WaitForPrevious();
  __shared__ float sums[kSumRows][kSumColumns];
  float* const to = blockIdx.y == 0 ? first : second;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kSumColumns + threadIdx.x;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (std::int64_t part = threadIdx.y; part < parts; part += kSumRows) {
      sum += partials[(part * gridDim.y + blockIdx.y) * columns + column];
    }
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns || to == nullptr) return;
#pragma unroll
  for (int row = 1; row < kSumRows; ++row) sum += sums[row][threadIdx.x];
  T rounded;
  Narrow(sum, &rounded);
  to[column] += Wide(rounded);
}

// `targets`, 1 or 2: how many matrices the partials hold side by side.
template <class T>
void LaunchAddColumnSums(const float* partials, std::int64_t parts, std::int64_t columns, unsigned targets,
                         float* first, float* second, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((columns + kSumColumns - 1) / kSumColumns);
  LaunchKernel(AddColumnSums<T>, dim3(blocks, targets), dim3(kSumColumns, kSumRows), 0, stream, partials, parts,
               columns, first, second);
}

}  // namespace mantissa::trainer::cuda
