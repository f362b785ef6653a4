// One pass over the flat gradients, see grad_stats.cc: a block for each chunk, then a block for each parameter over its
// chunks' rows. Equal to the CPU twin but for the order in which squares are added, and the same on every run.
//
// Squares and sums are double from the start. In FP32 the square of a finite 1e20 is infinite and that of 1e-25 zero;
// and a double multiply-add for each 4 bytes read is far below what the arithmetic units can do while memory is read.
#include "worker/kernels/cuda/block_reduce.cuh"
#include "worker/kernels/cuda/chunk_pieces.cuh"
#include "worker/kernels/grad_stats/grad_stats_cuda.h"

namespace mantissa::trainer::cuda {
namespace {

constexpr int kChunkThreads = 512;
constexpr int kParameterThreads = 128;
constexpr unsigned kInfBits = 0x7f800000;

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

template <int kThreads>
__device__ void WriteSum(const ThreadStats& mine, GradientStats* to) {
  GradientStats sum;
  sum.sum_of_squares = Reduce<kThreads>(mine.sum_of_squares, Add());
  sum.inf_count = Reduce<kThreads>(mine.inf_count, Add());
  sum.nan_count = Reduce<kThreads>(mine.nan_count, Add());
  sum.largest = Reduce<kThreads>(mine.largest, Max());
  if (threadIdx.x == 0) *to = sum;
}

__global__ void MeasureChunks(const float* gradients, bool aligned, const Chunk* chunks, const StepState* state,
                              GradientStats* chunk_stats) {
  if (state->halt != 0) return;
  const float inverse_scale = state->loss_scale < 1 ? 1 / state->loss_scale : 1;
  const Chunk chunk = chunks[blockIdx.x];
  const float* const from = gradients + chunk.begin;
  ThreadStats mine;
  const std::int64_t fours = aligned && chunk.begin % 4 == 0 ? chunk.size / 4 : 0;
  for (std::int64_t i = threadIdx.x; i < fours; i += kChunkThreads) {
    const float4 values = reinterpret_cast<const float4*>(from)[i];
    Look(values.x, inverse_scale, &mine);
    Look(values.y, inverse_scale, &mine);
    Look(values.z, inverse_scale, &mine);
    Look(values.w, inverse_scale, &mine);
  }
  for (std::int64_t i = fours * 4 + threadIdx.x; i < chunk.size; i += kChunkThreads) {
    Look(from[i], inverse_scale, &mine);
  }
  WriteSum<kChunkThreads>(mine, chunk_stats + blockIdx.x);
}

__global__ void SumChunks(const Chunk* chunks, std::int64_t chunk_count, const StepState* state,
                          const GradientStats* chunk_stats, GradientStats* stats) {
  if (state->halt != 0) return;
  ThreadStats mine;
  for (std::int64_t i = threadIdx.x; i < chunk_count; i += kParameterThreads) {
    if (chunks[i].parameter != blockIdx.x) continue;
    const GradientStats row = chunk_stats[i];
    mine.sum_of_squares += row.sum_of_squares;
    mine.inf_count += row.inf_count;
    mine.nan_count += row.nan_count;
    mine.largest = fmaxf(mine.largest, row.largest);
  }
  WriteSum<kParameterThreads>(mine, stats + blockIdx.x);
}

}  // namespace

void LaunchGradStats(const float* gradients, const Chunk* chunks, std::int64_t chunk_count, const StepState* state,
                     GradientStats* chunk_stats, GradientStats* stats, std::int64_t parameter_count,
                     cudaStream_t stream) {
  if (chunk_count > 0) {
    MeasureChunks<<<static_cast<unsigned>(chunk_count), kChunkThreads, 0, stream>>>(gradients, IsAligned16(gradients),
                                                                                    chunks, state, chunk_stats);
  }
  if (parameter_count > 0) {
    SumChunks<<<static_cast<unsigned>(parameter_count), kParameterThreads, 0, stream>>>(chunks, chunk_count, state,
                                                                                        chunk_stats, stats);
  }
}

}  // namespace mantissa::trainer::cuda
