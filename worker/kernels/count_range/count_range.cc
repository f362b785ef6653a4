// How close values come to the ends of a number format: one pass over them, which leaves four whole numbers. They are
// added to what is there, so that a tensor can be shown in pieces, and stay on the device until somebody asks.
#include <cstdint>

#include <torch/library.h>

#include "worker/kernels/count_range/count_range_check.h"
#include "worker/kernels/cpu/isa.h"

namespace mantissa::trainer::kernels {
namespace {

// Counted in 32 bits, as wide as the values are, before they are added in 64.
constexpr std::int64_t kBlock = 4096;

struct CountKernel {
  static MANTISSA_INLINE void Run(const float* values, std::int64_t count, RangeLimits limits, RangeCounts* counts) {
    std::int32_t max_bits = 0;
    for (std::int64_t at = 0; at < count; at += kBlock) {
      const std::int64_t end = count - at < kBlock ? count : at + kBlock;
      std::int32_t not_zero = 0, flushed = 0, near_max = 0;
      for (std::int64_t i = at; i < end; ++i) {
        const float magnitude = __builtin_fabsf(values[i]);
        std::int32_t bits;
        __builtin_memcpy(&bits, &magnitude, 4);
        const std::int32_t finite_bits = bits < cpu::kInfBits ? bits : 0;
        max_bits = finite_bits > max_bits ? finite_bits : max_bits;
        not_zero += bits != 0 ? 1 : 0;
        flushed += bits != 0 && magnitude <= limits.flushed_to ? 1 : 0;
        near_max += magnitude >= limits.near_max ? 1 : 0;
      }
      counts->not_zero += not_zero;
      counts->flushed += flushed;
      counts->near_max += near_max;
    }
    if (max_bits > counts->max_bits) counts->max_bits = max_bits;
  }
};

void CountRangeCpu(const at::Tensor& values, double flushed_to, double near_max, const at::Tensor& counts) {
  RangeCounts* const to = CheckCounts(values, counts);
  const RangeLimits limits = {static_cast<float>(flushed_to), static_cast<float>(near_max)};
  cpu::ForHostIsa<CountKernel>(values.const_data_ptr<float>(), values.numel(), limits, to);
}

TORCH_LIBRARY_FRAGMENT(mantissa, library) {
  library.def("count_range(Tensor values, float flushed_to, float near_max, Tensor(a!) counts) -> ()");
}
TORCH_LIBRARY_IMPL(mantissa, CPU, library) { library.impl("count_range", CountRangeCpu); }
TORCH_LIBRARY_IMPL(mantissa, Autograd, library) { library.impl("count_range", torch::CppFunction::makeFallthrough()); }

}  // namespace
}  // namespace mantissa::trainer::kernels
