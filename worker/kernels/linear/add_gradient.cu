// See add_gradient_cuda.h: a thread takes eight numbers where they are aligned. LibTorch's add_ of two types converts
// them one by one, at two thirds of the speed of memory.
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/linear/add_gradient_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kAtOnce = 8;

template <class T>
__global__ void AddGradient(float* gradient, const T* part, std::int64_t count, bool vectors) {
  WaitForPrevious();
  const std::int64_t at = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kAtOnce;
  if (vectors && at + kAtOnce <= count) {
    using Floats = Pack<float, 4>;
    const Pack<T, kAtOnce> add = *reinterpret_cast<const Pack<T, kAtOnce>*>(part + at);
    Floats* const to = reinterpret_cast<Floats*>(gradient + at);
    Floats sums[2] = {to[0], to[1]};
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) sums[i / 4].value[i % 4] += Wide(add.value[i]);
    to[0] = sums[0];
    to[1] = sums[1];
    return;
  }
  for (std::int64_t i = at; i < at + kAtOnce && i < count; ++i) gradient[i] += Wide(part[i]);
}

template <class T>
void Launch(float* gradient, const void* part, std::int64_t count, cudaStream_t stream) {
  constexpr std::int64_t kOfBlock = kThreads * kAtOnce;
  const bool vectors = IsAlignedFor<Pack<float, 4>>(gradient) && IsAlignedFor<Pack<T, kAtOnce>>(part);
  LaunchKernel(AddGradient<T>, static_cast<unsigned>((count + kOfBlock - 1) / kOfBlock), kThreads, 0, stream, gradient,
               static_cast<const T*>(part), count, vectors);
}

}  // namespace

void LaunchAddGradient(float* gradient, const void* part, NumberType type, std::int64_t count, cudaStream_t stream) {
  if (count == 0) return;
  switch (type) {
    case NumberType::kFloat:
      return Launch<float>(gradient, part, count, stream);
    case NumberType::kHalf:
      return Launch<__half>(gradient, part, count, stream);
    case NumberType::kBfloat16:
      return Launch<__nv_bfloat16>(gradient, part, count, stream);
  }
}

}  // namespace mantissa::trainer::cuda
