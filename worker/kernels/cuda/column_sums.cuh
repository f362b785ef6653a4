// Sums over the rows of a matrix, always in the same order. The first stage is part of a pass over the matrix, in
// tiles: a thread takes a few neighbouring columns down a share of the rows. The second adds up what blocks have left.
#pragma once

#include <cstdint>

#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"

namespace mantissa::trainer::cuda {

inline constexpr int kTileLanes = 32;  // each with its columns
inline constexpr int kTileRows = 8;    // at once; blocks are (kTileLanes, kTileRows)
// Some 8 blocks on each of an H100's 132 processors.
inline constexpr std::int64_t kMostTiles = 1056;
inline constexpr std::int64_t kLeastRowsOfTile = 4 * kTileRows;

inline std::int64_t TileColumns(std::int64_t columns, int of_thread) {
  return (columns + kTileLanes * of_thread - 1) / (kTileLanes * of_thread);
}

// How many parts the rows are cut into, and so how many sums of each column are left; given by the shape alone.
inline std::int64_t TileParts(std::int64_t rows, std::int64_t columns, int of_thread) {
  const std::int64_t most = kMostTiles / TileColumns(columns, of_thread);
  const std::int64_t wanted = (rows + kLeastRowsOfTile - 1) / kLeastRowsOfTile;
  return wanted < 1 || most < 1 ? 1 : wanted < most ? wanted : most;
}

inline dim3 TileGrid(std::int64_t columns, int of_thread, std::int64_t parts) {
  return dim3(static_cast<unsigned>(TileColumns(columns, of_thread)), static_cast<unsigned>(parts));
}

// The first of the calling thread's.
template <int kColumns>
__device__ std::int64_t TileColumn() {
  return (static_cast<std::int64_t>(blockIdx.x) * kTileLanes + threadIdx.x) * kColumns;
}

// `sums`, the calling thread's over its rows, of all threads of the block with these columns into to (columns). All
// threads come by.
template <int kColumns>
__device__ void SumTile(const float (&sums)[kColumns], std::int64_t column, std::int64_t columns, float* to) {
  __shared__ float of_row[kTileRows][kTileLanes * kColumns];
#pragma unroll
  for (int i = 0; i < kColumns; ++i) of_row[threadIdx.y][i * kTileLanes + threadIdx.x] = sums[i];
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
#pragma unroll
  for (int i = 0; i < kColumns; ++i) {
    float sum = sums[i];
    for (int row = 1; row < kTileRows; ++row) sum += of_row[row][i * kTileLanes + threadIdx.x];
    to[column + i] = sum;
  }
}

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
