// One pass over a tensor, see count_range.cc. Blocks add what they have counted with atomics, which is the same
// whatever their order: whole numbers, and a maximum.
#include "worker/kernels/count_range/count_range_cuda.h"
#include "worker/kernels/cuda/block_reduce.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kThreads = 256;
// Four for each of an H100's 132 processors; a block of a large tensor goes on to its next piece.
constexpr std::int64_t kMaxBlocks = 528;

using Four = Pack<float, 4>;
using Counter = unsigned long long;  // what CUDA's atomics take; the bits of an int64
static_assert(sizeof(Counter) == sizeof(std::int64_t));

struct ThreadCounts {
  float max = 0;
  long long not_zero = 0;
  long long flushed = 0;
  long long near_max = 0;
};

__device__ void Look(float value, const RangeLimits& limits, ThreadCounts* counts) {
  const unsigned bits = __float_as_uint(value) & 0x7fffffff;
  const float magnitude = __uint_as_float(bits);
  if (bits < kInfBits) counts->max = fmaxf(counts->max, magnitude);
  counts->not_zero += bits != 0;
  counts->flushed += bits != 0 && magnitude <= limits.flushed_to;
  counts->near_max += magnitude >= limits.near_max;
}

__global__ void CountRange(const float* values, std::int64_t count, std::int64_t fours, RangeLimits limits,
                           RangeCounts* counts) {
  WaitForPrevious();
  ThreadCounts mine;
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t threads = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = thread; i < fours; i += threads) {
    const Four four = reinterpret_cast<const Four*>(values)[i];
#pragma unroll
    for (const float value : four.value) Look(value, limits, &mine);
  }
  for (std::int64_t i = fours * 4 + thread; i < count; i += threads) Look(values[i], limits, &mine);

  const float max = Reduce<kThreads>(mine.max, Max());
  const long long not_zero = Reduce<kThreads>(mine.not_zero, Add());
  const long long flushed = Reduce<kThreads>(mine.flushed, Add());
  const long long near_max = Reduce<kThreads>(mine.near_max, Add());
  if (threadIdx.x != 0) return;
  atomicMax(reinterpret_cast<Counter*>(&counts->max_bits), static_cast<Counter>(__float_as_uint(max)));
  atomicAdd(reinterpret_cast<Counter*>(&counts->not_zero), static_cast<Counter>(not_zero));
  atomicAdd(reinterpret_cast<Counter*>(&counts->flushed), static_cast<Counter>(flushed));
  atomicAdd(reinterpret_cast<Counter*>(&counts->near_max), static_cast<Counter>(near_max));
}

}  // namespace

void LaunchCountRange(const float* values, std::int64_t count, RangeLimits limits, RangeCounts* counts,
                      cudaStream_t stream) {
  const std::int64_t fours = IsAlignedFor<Four>(values) ? count / 4 : 0;
  constexpr std::int64_t kOfBlock = std::int64_t{kThreads} * 16;
  const std::int64_t blocks = (count + kOfBlock - 1) / kOfBlock;
  LaunchKernel(CountRange, static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks), kThreads, 0, stream,
               values, count, fours, limits, counts);
}

}  // namespace mantissa::trainer::cuda
