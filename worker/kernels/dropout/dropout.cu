// Dropout: a thread draws for four elements at a time and reads and writes them at once. The same bits as the CPU twin.
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/dropout/dropout_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

using kernels::DropoutDraw;

constexpr int kThreads = 256;
constexpr std::int64_t kMaxBlocks = 4096;

template <class T>
__global__ void Drop(DropoutDraw draw, const std::int64_t* window, const T* from, std::int64_t count, bool aligned,
                     T* to) {
  WaitForPrevious();
  using Four = Pack<T, 4>;
  if (window != nullptr) draw.iteration = static_cast<std::uint32_t>(*window);
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t group = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; group * 4 < count;
       group += stride) {
    const std::int64_t at = group * 4;
    const Philox4 words = draw.Words(group);
    Four values;
    const bool whole = aligned && at + 4 <= count;
    if (whole) values = *reinterpret_cast<const Four*>(from + at);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (!whole && at + i < count) values.value[i] = from[at + i];
      const float kept = draw.Keeps(words.word[i]) ? Wide(values.value[i]) * draw.scale : 0.0f;
      Narrow(kept, &values.value[i]);
      if (!whole && at + i < count) to[at + i] = values.value[i];
    }
    if (whole) *reinterpret_cast<Four*>(to + at) = values;
  }
}

template <class T>
void Launch(const DropoutDraw& draw, const std::int64_t* window, const void* from, std::int64_t count, void* to,
            cudaStream_t stream) {
  const std::int64_t blocks = ((count + 3) / 4 + kThreads - 1) / kThreads;
  const bool aligned = IsAlignedFor<Pack<T, 4>>(from) && IsAlignedFor<Pack<T, 4>>(to);
  LaunchKernel(Drop<T>, static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks), kThreads, 0, stream, draw,
               window, static_cast<const T*>(from), count, aligned, static_cast<T*>(to));
}

}  // namespace

void LaunchDropout(const DropoutDraw& draw, const std::int64_t* window, NumberType type, const void* from,
                   std::int64_t count, void* to, cudaStream_t stream) {
  if (count == 0) return;
  switch (type) {
    case NumberType::kFloat:
      return Launch<float>(draw, window, from, count, to, stream);
    case NumberType::kHalf:
      return Launch<__half>(draw, window, from, count, to, stream);
    case NumberType::kBfloat16:
      return Launch<__nv_bfloat16>(draw, window, from, count, to, stream);
  }
}

}  // namespace mantissa::trainer::cuda
