// One pass over the flat gradients: for each parameter the sum of squares, the largest finite magnitude, and how many
// elements are Inf and NaN. Counts, not a norm, say whether the window overflowed: a norm of finite gradients can be
// infinite (two elements of 1e20), and one Inf among a billion elements must count.
//
// Below scale 1 the counts are of g x 1/scale: an Inf that only unscaling would make voids the update as well.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include <ATen/Parallel.h>
#include <torch/library.h>

#include "worker/amp/step_state.h"
#include "worker/kernels/check.h"
#include "worker/kernels/cpu/isa.h"
#include "worker/kernels/cpu/parallel.h"

namespace mantissa::trainer::kernels {
namespace {

using cpu::Doubles;
using cpu::Floats;
using cpu::HalfFloats;
using cpu::Ints;
using cpu::kInfBits;

// Elements looked at before the rare case is checked for; they stay in the first-level cache for the second look.
constexpr std::int64_t kBlock = 1024;

struct BlockSums {
  Doubles low{};
  Doubles high{};
};

// One block of which some elements are not finite.
MANTISSA_INLINE void CountBlock(const float* gradients, std::int64_t count, float inverse_scale, BlockSums* sums,
                                GradientStats* stats) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = gradients[i];
    const float unscaled = value * inverse_scale;
    std::int32_t bits;
    __builtin_memcpy(&bits, &unscaled, 4);
    bits &= 0x7fffffff;
    if (bits == kInfBits) {
      stats->inf_count += 1;
    } else if (bits > kInfBits) {
      stats->nan_count += 1;
    }
    std::int32_t raw;
    __builtin_memcpy(&raw, &value, 4);
    raw &= 0x7fffffff;
    if (raw >= kInfBits) continue;
    float magnitude;
    __builtin_memcpy(&magnitude, &raw, 4);
    if (magnitude > stats->largest) stats->largest = magnitude;
    sums->low[0] += static_cast<double>(value) * value;
  }
}

struct ChunkKernel {
  static MANTISSA_INLINE void Run(const float* gradients, std::int64_t count, float inverse_scale,
                                  GradientStats* stats) {
    BlockSums sums;
    for (std::int64_t at = 0; at < count; at += kBlock) {
      const std::int64_t size = count - at < kBlock ? count - at : kBlock;
      const BlockSums before = sums;
      Ints raw_max{}, unscaled_max{};
      for (std::int64_t i = 0; i < size; i += cpu::kLanes) {
        Floats x{};
        if (size - i >= cpu::kLanes) {
          cpu::Load(gradients + at + i, &x);
        } else {
          __builtin_memcpy(&x, gradients + at + i, static_cast<std::size_t>(size - i) * sizeof(float));
        }
        const Ints raw = (Ints)x & 0x7fffffff;
        const Ints unscaled = (Ints)(x * inverse_scale) & 0x7fffffff;
        raw_max = raw > raw_max ? raw : raw_max;
        unscaled_max = unscaled > unscaled_max ? unscaled : unscaled_max;
        HalfFloats halves[2];
        __builtin_memcpy(halves, &x, sizeof(x));
        const Doubles low = __builtin_convertvector(halves[0], Doubles);
        const Doubles high = __builtin_convertvector(halves[1], Doubles);
        sums.low += low * low;
        sums.high += high * high;
      }
      std::int32_t raw_largest = 0, unscaled_largest = 0;
      for (std::int64_t lane = 0; lane < cpu::kLanes; ++lane) {
        raw_largest = raw_max[lane] > raw_largest ? raw_max[lane] : raw_largest;
        unscaled_largest = unscaled_max[lane] > unscaled_largest ? unscaled_max[lane] : unscaled_largest;
      }
      if (raw_largest >= kInfBits || unscaled_largest >= kInfBits) {
        sums = before;
        CountBlock(gradients + at, size, inverse_scale, &sums, stats);
        continue;
      }
      float largest;
      __builtin_memcpy(&largest, &raw_largest, 4);
      if (largest > stats->largest) stats->largest = largest;
    }
    double total = 0;
    for (int lane = 0; lane < 8; ++lane) total += sums.low[lane] + sums.high[lane];
    stats->sum_of_squares = total;
  }
};

// Chunks are summed in their order, whichever thread did which: the same bits with any number of threads.
void GradStatsCpu(const at::Tensor& gradients, const at::Tensor& chunks, const at::Tensor& state,
                  const at::Tensor& chunk_stats, const at::Tensor& stats) {
  CheckFlat(gradients, "gradients");
  const Chunk* const chunk = Chunks(chunks);
  const std::int64_t chunk_count = chunks.size(0);
  GradientStats* const partial = Struct<GradientStats>(chunk_stats, "chunk_stats");
  GradientStats* const total = Struct<GradientStats>(stats, "stats");
  const std::int64_t parameter_count = StructCount<GradientStats>(stats);
  TORCH_CHECK(StructCount<GradientStats>(chunk_stats) >= chunk_count, "chunk_stats has fewer rows than chunks");
  const StepState& step = *Struct<StepState>(state, "state");
  if (step.halt != 0) return;
  const float inverse_scale = step.loss_scale < 1 ? 1 / step.loss_scale : 1;
  const float* const data = gradients.const_data_ptr<float>();

  const auto measure = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      partial[i] = GradientStats();
      cpu::ForHostIsa<ChunkKernel>(data + chunk[i].begin, chunk[i].size, inverse_scale, partial + i);
    }
  };
  if (gradients.numel() <= cpu::kParallelGrain) {
    measure(0, chunk_count);
  } else {
    at::parallel_for(0, chunk_count, 1, measure);
  }
  std::fill(total, total + parameter_count, GradientStats());
  for (std::int64_t i = 0; i < chunk_count; ++i) {
    GradientStats& sum = total[chunk[i].parameter];
    sum.sum_of_squares += partial[i].sum_of_squares;
    sum.inf_count += partial[i].inf_count;
    sum.nan_count += partial[i].nan_count;
    sum.largest = std::max(sum.largest, partial[i].largest);
  }
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def(
      "grad_stats(Tensor gradients, Tensor chunks, Tensor state, Tensor(a!) chunk_stats, Tensor(b!) stats) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("grad_stats", GradStatsCpu); }
// None of the update's ops is differentiable; without this their calls would go through autograd's slow fallback.
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("grad_stats", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
