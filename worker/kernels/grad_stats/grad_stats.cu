// One pass over the flat gradients, see grad_stats.cc: a block for each chunk, then a block for each parameter over its
// chunks' rows; of a small buffer one block does it all. Equal to the CPU twin but for the order in which squares are
// added, and the same on every run.
//
// Squares and sums are double from the start. In FP32 the square of a finite 1e20 is infinite and that of 1e-25 zero;
// and a double multiply-add for each 4 bytes read is far below what the arithmetic units can do while memory is read.
#include "worker/kernels/cuda/block_reduce.cuh"
#include "worker/kernels/cuda/chunk_pieces.cuh"
#include "worker/kernels/cuda/launch.cuh"
#include "worker/kernels/cuda/number.cuh"
#include "worker/kernels/grad_stats/grad_stats_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kChunkThreads = 512;
constexpr int kParameterThreads = 128;
// Elements that one block is as fast with as many are, because a second launch is saved.
constexpr std::int64_t kOneBlock = 1 << 14;

struct ThreadStats {
  double sum_of_squares = 0;
  long long inf_count = 0;
  long long nan_count = 0;
  float largest = 0;
};

__device__ void Look(float value, float inverse_scale, ThreadStats* stats) {
  const unsigned unscaled = __float_as_uint(value * inverse_scale) & 0x7fffffff;
  stats->inf_count += unscaled == kInfBits;
  stats->nan_count += unscaled > kInfBits;
  const unsigned raw = __float_as_uint(value) & 0x7fffffff;
  if (raw >= kInfBits) return;
  stats->largest = fmaxf(stats->largest, __uint_as_float(raw));
  stats->sum_of_squares += static_cast<double>(value) * value;
}

// float4 that a thread has in flight at once.
constexpr int kAtOnce = 4;

// The four times kAtOnce elements that a thread has read; hardly ever is one of them not finite.
__device__ void LookAtAll(const float4 (&values)[kAtOnce], float inverse_scale, ThreadStats* stats) {
  unsigned largest = 0;
  const auto compare = [&](float value) { largest = max(largest, __float_as_uint(value) & 0x7fffffff); };
#pragma unroll
  for (const float4& four : values) {
    compare(four.x);
    compare(four.y);
    compare(four.z);
    compare(four.w);
  }
  // `inverse_scale` is 1 or more: where the largest stays finite, all do. NaN is larger than Inf in bits.
  const bool all_finite = (__float_as_uint(__uint_as_float(largest) * inverse_scale) & 0x7fffffff) < kInfBits;
  // The product of two floats is exact in double, so that the sum is rounded once either way.
  const auto add = [&](float value) {
    const double wide = value;
    stats->sum_of_squares = fma(wide, wide, stats->sum_of_squares);
  };
  if (all_finite) stats->largest = fmaxf(stats->largest, __uint_as_float(largest));
#pragma unroll
  for (const float4& four : values) {
    if (all_finite) {
      add(four.x);
      add(four.y);
      add(four.z);
      add(four.w);
    } else {
      Look(four.x, inverse_scale, stats);
      Look(four.y, inverse_scale, stats);
      Look(four.z, inverse_scale, stats);
      Look(four.w, inverse_scale, stats);
    }
  }
}

// What thread `thread` of kThreads sees of a chunk.
template <int kThreads>
__device__ ThreadStats LookAtChunk(const float* gradients, bool aligned, const Chunk& chunk, float inverse_scale,
                                   int thread) {
  const float* const from = gradients + chunk.begin;
  const auto* const fours_from = reinterpret_cast<const float4*>(from);
  ThreadStats mine;
  const std::int64_t fours = aligned && chunk.begin % 4 == 0 ? chunk.size / 4 : 0;
  std::int64_t i = thread;
  for (; i + (kAtOnce - 1) * kThreads < fours; i += kAtOnce * kThreads) {
    float4 values[kAtOnce];
#pragma unroll
    for (int n = 0; n < kAtOnce; ++n) values[n] = fours_from[i + n * kThreads];
    LookAtAll(values, inverse_scale, &mine);
  }
  for (; i < fours; i += kThreads) {
    const float4 four = fours_from[i];
    Look(four.x, inverse_scale, &mine);
    Look(four.y, inverse_scale, &mine);
    Look(four.z, inverse_scale, &mine);
    Look(four.w, inverse_scale, &mine);
  }
  for (i = fours * 4 + thread; i < chunk.size; i += kThreads) Look(from[i], inverse_scale, &mine);
  return mine;
}

__device__ float InverseScale(const StepState& state) { return state.loss_scale < 1 ? 1 / state.loss_scale : 1; }

// Of the kThreads that call it together, the one that `writes` does.
template <int kThreads>
__device__ void WriteSum(const ThreadStats& mine, bool writes, GradientStats* to) {
  GradientStats sum;
  sum.sum_of_squares = Reduce<kThreads>(mine.sum_of_squares, Add());
  sum.inf_count = Reduce<kThreads>(mine.inf_count, Add());
  sum.nan_count = Reduce<kThreads>(mine.nan_count, Add());
  sum.largest = Reduce<kThreads>(mine.largest, Max());
  if (writes) *to = sum;
}

__device__ void AddRow(const GradientStats& row, ThreadStats* to) {
  to->sum_of_squares += row.sum_of_squares;
  to->inf_count += row.inf_count;
  to->nan_count += row.nan_count;
  to->largest = fmaxf(to->largest, row.largest);
}

__global__ void MeasureChunks(const float* gradients, bool aligned, const Chunk* chunks, const StepState* state,
                              GradientStats* chunk_stats) {
  WaitForPrevious();
  if (state->halt != 0) return;
  const ThreadStats mine = LookAtChunk<kChunkThreads>(gradients, aligned, chunks[blockIdx.x], InverseScale(*state),
                                                      static_cast<int>(threadIdx.x));
  WriteSum<kChunkThreads>(mine, threadIdx.x == 0, chunk_stats + blockIdx.x);
}

// All of a small buffer: one block, a warp for each chunk, then a thread for each parameter.
__global__ void MeasureAll(const float* gradients, bool aligned, const Chunk* chunks, std::int64_t chunk_count,
                           const StepState* state, GradientStats* chunk_stats, GradientStats* stats,
                           std::int64_t parameter_count) {
  WaitForPrevious();
  if (state->halt != 0) return;
  const float inverse_scale = InverseScale(*state);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (std::int64_t i = threadIdx.x / kWarp; i < chunk_count; i += kChunkThreads / kWarp) {
    const ThreadStats mine = LookAtChunk<kWarp>(gradients, aligned, chunks[i], inverse_scale, lane);
    WriteSum<kWarp>(mine, lane == 0, chunk_stats + i);
  }
  __syncthreads();
  for (std::int64_t parameter = threadIdx.x; parameter < parameter_count; parameter += kChunkThreads) {
    ThreadStats sum;
    for (std::int64_t i = 0; i < chunk_count; ++i) {
      if (chunks[i].parameter == parameter) AddRow(chunk_stats[i], &sum);
    }
    GradientStats row;
    row.sum_of_squares = sum.sum_of_squares;
    row.inf_count = sum.inf_count;
    row.nan_count = sum.nan_count;
    row.largest = sum.largest;
    stats[parameter] = row;
  }
}

__global__ void SumChunks(const Chunk* chunks, std::int64_t chunk_count, const StepState* state,
                          const GradientStats* chunk_stats, GradientStats* stats) {
  WaitForPrevious();
  if (state->halt != 0) return;
  ThreadStats mine;
  for (std::int64_t i = threadIdx.x; i < chunk_count; i += kParameterThreads) {
    if (chunks[i].parameter != blockIdx.x) continue;
    AddRow(chunk_stats[i], &mine);
  }
  WriteSum<kParameterThreads>(mine, threadIdx.x == 0, stats + blockIdx.x);
}

}  // namespace

void LaunchGradStats(const float* gradients, std::int64_t gradient_count, const Chunk* chunks, std::int64_t chunk_count,
                     const StepState* state, GradientStats* chunk_stats, GradientStats* stats,
                     std::int64_t parameter_count, cudaStream_t stream) {
  if (gradient_count <= kOneBlock) {
    LaunchKernel(MeasureAll, 1, kChunkThreads, 0, stream, gradients, IsAligned16(gradients), chunks, chunk_count, state,
                 chunk_stats, stats, parameter_count);
    return;
  }
  if (chunk_count > 0) {
    LaunchKernel(MeasureChunks, static_cast<unsigned>(chunk_count), kChunkThreads, 0, stream, gradients,
                 IsAligned16(gradients), chunks, state, chunk_stats);
  }
  if (parameter_count > 0) {
    LaunchKernel(SumChunks, static_cast<unsigned>(parameter_count), kParameterThreads, 0, stream, chunks, chunk_count,
                 state, chunk_stats, stats);
  }
}

}  // namespace mantissa::trainer::cuda
