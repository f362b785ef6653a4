// A linear layer of a small shape: a block for each 16 x 16 tile of a product, a thread for each element, operands
// rounded as they are read. Backward is one launch: blocks of the weight's gradient, with the bias' beside its first
// column of tiles, then blocks of the input's. Sums are FP32, in order of their index: the same bits every time.
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/linear/small_linear_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kTile = 16;
constexpr int kThreads = kTile * kTile;
// Terms of a sum that a block has in shared memory at once.
constexpr int kDepth = 64;

enum Activation { kNone = 0, kRelu = 1, kGelu = 2, kTanh = 3 };

constexpr float kSqrtTwoOverPi = 0.7978845608028654f;
constexpr float kCubic = 0.044715f;

template <class T>
__device__ float Rounded(float value) {
  T low;
  Narrow(value, &low);
  return Wide(low);
}

// NaN stays NaN.
__device__ float Activate(int activation, float z) {
  switch (activation) {
    case kRelu:
      return z < 0 ? 0.0f : z;
    case kGelu:
      return 0.5f * z * (1.0f + tanhf((z + z * z * z * kCubic) * kSqrtTwoOverPi));
    case kTanh:
      return tanhf(z);
    default:
      return z;
  }
}

// `saved`: the result or, for GELU, what went in.
__device__ float GradientBefore(int activation, float saved, float gradient) {
  switch (activation) {
    case kRelu:
      return saved <= 0 ? 0.0f : gradient;
    case kGelu: {
      const float t = tanhf((saved + saved * saved * saved * kCubic) * kSqrtTwoOverPi);
      const float inner = (1.0f + 3.0f * kCubic * saved * saved) * kSqrtTwoOverPi;
      return gradient * (0.5f * (1.0f + t) + 0.5f * saved * (1.0f - t * t) * inner);
    }
    case kTanh:
      return gradient * (1.0f - saved * saved);
    default:
      return gradient;
  }
}

using Rows = float[kTile][kDepth + 1];  // one more, so that a column is spread over the banks

// Neighbouring threads read neighbours along the sum, or across it: whichever way the matrix lies in memory.
template <bool kAlongSum, class Operand>
__device__ void Fill(const Operand& operand, int from, Rows& rows) {
  float values[kTile * kDepth / kThreads];
#pragma unroll
  for (int n = 0; n < kTile * kDepth / kThreads; ++n) {
    const int i = threadIdx.x + n * kThreads;
    values[n] = kAlongSum ? operand(i / kDepth, from + i % kDepth) : operand(i % kTile, from + i / kTile);
  }
#pragma unroll
  for (int n = 0; n < kTile * kDepth / kThreads; ++n) {
    const int i = threadIdx.x + n * kThreads;
    (kAlongSum ? rows[i / kDepth][i % kDepth] : rows[i % kTile][i / kTile]) = values[n];
  }
}

struct Sums {
  float products = 0;
  float left = 0;  // of the left operand alone
};

// Of a thread: sums over k of left(row, k) right(column, k). The operands are 0 where there is no element.
template <bool kLeftAlongSum, bool kRightAlongSum, class Left, class Right>
__device__ Sums SumOver(int terms, const Left& left, const Right& right) {
  __shared__ Rows of_left, of_right;
  const int row = threadIdx.x / kTile;
  const int column = threadIdx.x % kTile;
  Sums sums;
  for (int from = 0; from < terms; from += kDepth) {
    __syncthreads();  // the terms before these may still be read
    Fill<kLeftAlongSum>(left, from, of_left);
    Fill<kRightAlongSum>(right, from, of_right);
    __syncthreads();
    const int span = terms - from < kDepth ? terms - from : kDepth;
#pragma unroll 8
    for (int k = 0; k < span; ++k) {
      sums.products = fmaf(of_left[row][k], of_right[column][k], sums.products);
      sums.left += of_left[row][k];
    }
  }
  return sums;
}

constexpr int TilesOf(int side) { return (side + kTile - 1) / kTile; }

template <class T, class X, class W>
__global__ void Forward(SmallLinear layer, const float* bias, T* before, T* result) {
  WaitForPrevious();
  const auto* const x = static_cast<const X*>(layer.x);
  const auto* const weight = static_cast<const W*>(layer.weight);
  const int tiles = (layer.out + kTile - 1) / kTile;
  const int first_row = blockIdx.x / tiles * kTile;
  const int first_column = blockIdx.x % tiles * kTile;
  const auto inputs = [&](int i, int k) {
    const int row = first_row + i;
    return row < layer.rows && k < layer.in ? Rounded<T>(Wide(x[row * layer.in + k])) : 0.0f;
  };
  const auto weights = [&](int i, int k) {
    const int column = first_column + i;
    return column < layer.out && k < layer.in ? Rounded<T>(Wide(weight[column * layer.in + k])) : 0.0f;
  };
  const Sums sums = SumOver<true, true>(layer.in, inputs, weights);
  const int row = first_row + threadIdx.x / kTile;
  const int column = first_column + threadIdx.x % kTile;
  if (row >= layer.rows || column >= layer.out) return;
  const float b = bias == nullptr ? 0.0f : Rounded<T>(bias[column]);
  // The activation sees the rounded product.
  const float z = Rounded<T>(sums.products + b);
  const int at = row * layer.out + column;
  if (before != nullptr) Narrow(z, before + at);
  Narrow(Activate(layer.activation, z), result + at);
}

// The gradient of what went into the activation, rounded; a matrix (rows, out) that is nowhere in memory.
template <class T>
struct GradientMatrix {
  const T* gradient;
  const T* saved;
  int rows;
  int out;
  int activation;

  __device__ float operator()(int row, int column) const {
    if (row >= rows || column >= out) return 0.0f;
    const int at = row * out + column;
    const float g = Wide(gradient[at]);
    return activation == kNone ? g : Rounded<T>(GradientBefore(activation, Wide(saved[at]), g));
  }
};

template <class T, class X>
__device__ void WeightTile(const SmallLinear& layer, const GradientMatrix<T>& gradient, int tile,
                           const SmallLinearGradients& to) {
  const auto* const x = static_cast<const X*>(layer.x);
  const int tiles = (layer.in + kTile - 1) / kTile;
  const int first_out = tile / tiles * kTile;
  const int first_in = tile % tiles * kTile;
  const auto gradients = [&](int i, int k) { return gradient(k, first_out + i); };
  const auto inputs = [&](int i, int k) {
    const int column = first_in + i;
    return column < layer.in && k < layer.rows ? Rounded<T>(Wide(x[k * layer.in + column])) : 0.0f;
  };
  const Sums sums = SumOver<false, false>(layer.rows, gradients, inputs);
  const int out = first_out + threadIdx.x / kTile;
  const int in = first_in + threadIdx.x % kTile;
  if (out >= layer.out) return;
  if (to.bias != nullptr && in == 0) to.bias[out] += Rounded<T>(sums.left);
  if (to.weight != nullptr && in < layer.in) to.weight[out * layer.in + in] += Rounded<T>(sums.products);
}

template <class T, class W>
__device__ void InputTile(const SmallLinear& layer, const GradientMatrix<T>& gradient, int tile,
                          const SmallLinearGradients& to) {
  const auto* const weight = static_cast<const W*>(layer.weight);
  const int tiles = (layer.in + kTile - 1) / kTile;
  const int first_row = tile / tiles * kTile;
  const int first_in = tile % tiles * kTile;
  const auto gradients = [&](int i, int k) { return gradient(first_row + i, k); };
  const auto weights = [&](int i, int k) {
    const int column = first_in + i;
    return column < layer.in && k < layer.out ? Rounded<T>(Wide(weight[k * layer.in + column])) : 0.0f;
  };
  const Sums sums = SumOver<true, false>(layer.out, gradients, weights);
  const int row = first_row + threadIdx.x / kTile;
  const int in = first_in + threadIdx.x % kTile;
  if (row >= layer.rows || in >= layer.in) return;
  const int at = row * layer.in + in;
  if (to.input_is_float) {
    static_cast<float*>(to.input)[at] = Rounded<T>(sums.products);
  } else {
    Narrow(sums.products, static_cast<T*>(to.input) + at);
  }
}

template <class T, class X, class W>
__global__ void Backward(SmallLinear layer, const T* gradient, const T* saved, int weight_tiles,
                         SmallLinearGradients to) {
  WaitForPrevious();
  const GradientMatrix<T> matrix{gradient, saved, layer.rows, layer.out, layer.activation};
  const int block = static_cast<int>(blockIdx.x);
  if (block < weight_tiles) {
    WeightTile<T, X>(layer, matrix, block, to);
  } else {
    InputTile<T, W>(layer, matrix, block - weight_tiles, to);
  }
}

// launch(T(), X(), W()) with the types of the layer.
template <class T, class Launch>
void WithOperands(const SmallLinear& layer, const Launch& launch) {
  if (layer.x_is_float && layer.weight_is_float) return launch(T(), float(), float());
  if (layer.x_is_float) return launch(T(), float(), T());
  if (layer.weight_is_float) return launch(T(), T(), float());
  return launch(T(), T(), T());
}

template <class Launch>
void WithTypes(const SmallLinear& layer, const Launch& launch) {
  if (layer.compute == NumberType::kHalf) {
    WithOperands<__half>(layer, launch);
  } else {
    WithOperands<__nv_bfloat16>(layer, launch);
  }
}

}  // namespace

void LaunchSmallLinear(const SmallLinear& layer, const float* bias, void* before, void* result, cudaStream_t stream) {
  WithTypes(layer, [&]<class T, class X, class W>(T, X, W) {
    LaunchKernel(Forward<T, X, W>, TilesOf(layer.rows) * TilesOf(layer.out), kThreads, 0, stream, layer, bias,
                 static_cast<T*>(before), static_cast<T*>(result));
  });
}

void LaunchSmallLinearBackward(const SmallLinear& layer, const void* gradient, const void* saved,
                               const SmallLinearGradients& to, cudaStream_t stream) {
  const bool wants_parameters = to.weight != nullptr || to.bias != nullptr;
  const int weight_tiles = wants_parameters ? TilesOf(layer.out) * TilesOf(layer.in) : 0;
  const int input_tiles = to.input != nullptr ? TilesOf(layer.rows) * TilesOf(layer.in) : 0;
  if (weight_tiles + input_tiles == 0) return;
  WithTypes(layer, [&]<class T, class X, class W>(T, X, W) {
    LaunchKernel(Backward<T, X, W>, weight_tiles + input_tiles, kThreads, 0, stream, layer,
                 static_cast<const T*>(gradient), static_cast<const T*>(saved), weight_tiles, to);
  });
}

}  // namespace mantissa::trainer::cuda
