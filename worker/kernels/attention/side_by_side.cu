// See side_by_side_cuda.h: a thread takes 16 bytes of a row, down a share of the rows.
#include "worker/kernels/attention/side_by_side_cuda.h"
#include "worker/kernels/cuda/column_sums.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kColumns = 8;

template <class T>
__global__ void Put(SideBySide work, std::int64_t rows_of_block) {
  WaitForPrevious();
  using Columns = Pack<T, kColumns>;
  const std::int64_t columns = 3 * work.width;
  const std::int64_t column = TileColumn<kColumns>();
  const std::int64_t begin = blockIdx.y * rows_of_block;
  const std::int64_t end = begin + rows_of_block < work.rows ? begin + rows_of_block : work.rows;
  float sums[kColumns] = {};
  if (column < columns) {
    const std::int64_t part = column / work.width;
    const T* const from = static_cast<const T*>(work.parts[part]) + (column - part * work.width);
    T* const to = static_cast<T*>(work.result) + column;
#pragma unroll 4
    for (std::int64_t row = begin + threadIdx.y; row < end; row += kTileRows) {
      const Columns values = *reinterpret_cast<const Columns*>(from + row * work.width);
      *reinterpret_cast<Columns*>(to + row * columns) = values;
#pragma unroll
      for (int i = 0; i < kColumns; ++i) sums[i] += Wide(values.value[i]);
    }
  }
  SumTile<kColumns>(sums, column, columns, work.partials + blockIdx.y * columns);
}

template <class T>
void Launch(const SideBySide& work, cudaStream_t stream) {
  const std::int64_t columns = 3 * work.width;
  const std::int64_t parts = SideBySideParts(work.rows, work.width);
  LaunchKernel(Put<T>, TileGrid(columns, kColumns, parts), dim3(kTileLanes, kTileRows), 0, stream, work,
               (work.rows + parts - 1) / parts);
}

}  // namespace

std::int64_t SideBySideParts(std::int64_t rows, std::int64_t width) { return TileParts(rows, 3 * width, kColumns); }

void LaunchSideBySide(const SideBySide& work, cudaStream_t stream) {
  if (work.rows == 0 || work.width == 0) return;
  if (work.type == NumberType::kHalf) {
    Launch<__half>(work, stream);
  } else {
    Launch<__nv_bfloat16>(work, stream);
  }
}

}  // namespace mantissa::trainer::cuda
