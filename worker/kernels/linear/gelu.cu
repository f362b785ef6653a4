// See gelu_cuda.h: a thread takes eight numbers where they are aligned. LibTorch's op waits for tanh and not for
// memory.
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/linear/gelu_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 8;

// 0.5 x (1 + tanh u) = x / (1 + e^-2u), with u = sqrt(2 / pi) (x + 0.044715 x^3). Far below 0 e^-2u is Inf and its
// reciprocal 0; of -Inf that makes NaN, as tanh's form does.
__device__ float GeluOf(float x) {
  constexpr float kLinear = 2.0f * 0.7978845608028654f;
  constexpr float kCubic = 0.044715f;
  return x * QuickReciprocal(1.0f + QuickExp(-x * fmaf(kLinear * kCubic, x * x, kLinear)));
}

template <class T>
__global__ void Gelu(const T* from, std::int64_t count, bool vectors, T* result) {
  WaitForPrevious();
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kAtOnce;
  if (vectors && at + kAtOnce <= count) {
    using Numbers = Pack<T, kAtOnce>;
    Numbers numbers = *reinterpret_cast<const Numbers*>(from + at);
#pragma unroll
    for (T& number : numbers.value) Narrow(GeluOf(Wide(number)), &number);
    *reinterpret_cast<Numbers*>(result + at) = numbers;
    return;
  }
  for (std::int64_t i = at; i < at + kAtOnce && i < count; ++i) Narrow(GeluOf(Wide(from[i])), result + i);
}

template <class T>
void Launch(const void* from, std::int64_t count, void* result, cudaStream_t stream) {
  constexpr std::int64_t kOfBlock = kThreads * kAtOnce;
  const bool vectors = IsAlignedFor<Pack<T, kAtOnce>>(from) && IsAlignedFor<Pack<T, kAtOnce>>(result);
  LaunchKernel(Gelu<T>, static_cast<unsigned>((count + kOfBlock - 1) / kOfBlock), kThreads, 0, stream,
               static_cast<const T*>(from), count, vectors, static_cast<T*>(result));
}

}  // namespace

void LaunchGelu(const void* from, NumberType type, std::int64_t count, void* result, cudaStream_t stream) {
  if (count == 0) return;
  if (type == NumberType::kHalf) {
    Launch<__half>(from, count, result, stream);
  } else {
    Launch<__nv_bfloat16>(from, count, result, stream);
  }
}

}  // namespace mantissa::trainer::cuda
