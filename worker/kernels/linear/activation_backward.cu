// See activation_backward_cuda.h: a thread takes a few neighbouring columns, 16 bytes where they are aligned, down a
// share of the rows. Columns are summed in FP32: within a block, then over blocks, always in the same order.
#include <type_traits>

#include "worker/kernels/cuda/column_sums.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/linear/activation_backward_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

using cpu::ActivationKind;

template <class T>
constexpr int kVector = 16 / sizeof(T);

// Of GELU by tanh: 0.5 x (1 + tanh u) = x / (1 + e^-2u), with u = sqrt(2 / pi) (x + 0.044715 x^3).
template <class T>
__device__ float GeluDerivative(float x) {
  constexpr float kSqrtTwoOverPi = 0.7978845608028654f;
  constexpr float kCubic = 0.044715f;
  if constexpr (std::is_same_v<T, float>) {
    const float t = tanhf(kSqrtTwoOverPi * (x + kCubic * (x * x * x)));
    const float inner = kSqrtTwoOverPi * (1.0f + 3.0f * kCubic * (x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * inner;
  } else {
    // Half as many operations, which count here: with tanh's this pass waits for them and not for memory.
    constexpr float kLinear = 2.0f * kSqrtTwoOverPi;
    const float square = x * x;
    const float sigmoid = QuickReciprocal(1.0f + QuickExp(-x * fmaf(kLinear * kCubic, square, kLinear)));
    const float slope = x * fmaf(3.0f * kLinear * kCubic, square, kLinear);
    return sigmoid * fmaf(slope, 1.0f - sigmoid, 1.0f);
  }
}

template <class T, ActivationKind kKind>
__device__ float Derive(float gradient, float saved) {
  if constexpr (kKind == ActivationKind::kRelu) {
    return saved <= 0 ? 0.0f : gradient;
  } else if constexpr (kKind == ActivationKind::kTanh) {
    return gradient * (1.0f - saved * saved);
  } else if constexpr (kKind == ActivationKind::kGelu) {
    return gradient * GeluDerivative<T>(saved);
  } else {
    return gradient;
  }
}

template <class T, ActivationKind kKind, int kColumns>
__global__ void Backward(ActivationBackward work, std::int64_t rows_of_block) {
  WaitForPrevious();
  using Columns = Pack<T, kColumns>;
  const std::int64_t column = TileColumn<kColumns>();
  const std::int64_t begin = blockIdx.y * rows_of_block;
  const std::int64_t end = begin + rows_of_block < work.rows ? begin + rows_of_block : work.rows;
  float sums[kColumns] = {};
  if (column < work.columns) {
#pragma unroll 4
    for (std::int64_t row = begin + threadIdx.y; row < end; row += kTileRows) {
      const std::int64_t at = row * work.columns + column;
      Columns gradient = *reinterpret_cast<const Columns*>(static_cast<const T*>(work.gradient) + at);
      Columns saved;
      if constexpr (kKind != ActivationKind::kNone) {
        saved = *reinterpret_cast<const Columns*>(static_cast<const T*>(work.saved) + at);
      }
#pragma unroll
      for (int i = 0; i < kColumns; ++i) {
        if constexpr (kKind != ActivationKind::kNone) {
          Narrow(Derive<T, kKind>(Wide(gradient.value[i]), Wide(saved.value[i])), &gradient.value[i]);
        }
        sums[i] += Wide(gradient.value[i]);
      }
      if constexpr (kKind != ActivationKind::kNone) {
        *reinterpret_cast<Columns*>(static_cast<T*>(work.result) + at) = gradient;
      }
    }
  }
  if (work.bias_gradient == nullptr) return;
  SumTile<kColumns>(sums, column, work.columns, work.partials + blockIdx.y * work.columns);
}

template <class T, ActivationKind kKind>
void LaunchOf(const ActivationBackward& work, cudaStream_t stream) {
  using Vector = Pack<T, kVector<T>>;
  // Both splits of the columns leave as many parts.
  const std::int64_t parts = TileParts(work.rows, work.columns, kVector<T>);
  const std::int64_t rows_of_block = (work.rows + parts - 1) / parts;
  const bool vectors =
      work.columns % kVector<T> == 0 && IsAlignedFor<Vector>(work.gradient) &&
      (kKind == ActivationKind::kNone || (IsAlignedFor<Vector>(work.saved) && IsAlignedFor<Vector>(work.result)));
  const dim3 block(kTileLanes, kTileRows);
  if (vectors) {
    LaunchKernel(Backward<T, kKind, kVector<T>>, TileGrid(work.columns, kVector<T>, parts), block, 0, stream, work,
                 rows_of_block);
  } else {
    LaunchKernel(Backward<T, kKind, 1>, TileGrid(work.columns, 1, parts), block, 0, stream, work, rows_of_block);
  }
  if (work.bias_gradient == nullptr) return;
  LaunchAddColumnSums<T>(work.partials, parts, work.columns, 1, work.bias_gradient, nullptr, stream);
}

template <class T>
void LaunchFor(const ActivationBackward& work, cudaStream_t stream) {
  switch (work.activation) {
    case ActivationKind::kNone:
      return LaunchOf<T, ActivationKind::kNone>(work, stream);
    case ActivationKind::kRelu:
      return LaunchOf<T, ActivationKind::kRelu>(work, stream);
    case ActivationKind::kGelu:
      return LaunchOf<T, ActivationKind::kGelu>(work, stream);
    case ActivationKind::kTanh:
      return LaunchOf<T, ActivationKind::kTanh>(work, stream);
  }
}

}  // namespace

std::int64_t ActivationBackwardParts(NumberType type, std::int64_t rows, std::int64_t columns) {
  return TileParts(rows, columns, type == NumberType::kFloat ? kVector<float> : kVector<__half>);
}

void LaunchActivationBackward(const ActivationBackward& work, cudaStream_t stream) {
  if (work.rows == 0 || work.columns == 0) return;
  if (work.activation == ActivationKind::kNone && work.bias_gradient == nullptr) return;
  switch (work.type) {
    case NumberType::kFloat:
      return LaunchFor<float>(work, stream);
    case NumberType::kHalf:
      return LaunchFor<__half>(work, stream);
    case NumberType::kBfloat16:
      return LaunchFor<__nv_bfloat16>(work, stream);
  }
}

}  // namespace mantissa::trainer::cuda
