#include "worker/amp/value_range.h"

#include <cfloat>
#include <cmath>

#include <ATen/ATen.h>

namespace mantissa::trainer {
namespace {

struct Counts {
  double max = 0;
  std::int64_t not_zero = 0;
  std::int64_t flushed = 0;
  std::int64_t near_max = 0;
};

Counts CountOnHost(const at::Tensor& values, float flushed_to, float near_max) {
  const at::Tensor whole = values.contiguous();
  const float* const data = whole.const_data_ptr<float>();
  float max = 0;
  Counts counts;
  for (std::int64_t i = 0; i < whole.numel(); ++i) {
    const float magnitude = std::fabs(data[i]);
    if (magnitude <= FLT_MAX && magnitude > max) max = magnitude;
    counts.not_zero += magnitude != 0 ? 1 : 0;
    counts.flushed += magnitude != 0 && magnitude <= flushed_to ? 1 : 0;
    counts.near_max += magnitude >= near_max ? 1 : 0;
  }
  counts.max = max;
  return counts;
}

Counts CountOnDevice(const at::Tensor& values, float flushed_to, float near_max) {
  const at::Tensor magnitude = values.abs();
  const at::Tensor not_zero = magnitude.ne(0);
  const at::Tensor finite = at::where(magnitude.isfinite(), magnitude, 0);
  const at::Tensor all = at::stack({finite.max().to(at::kDouble), not_zero.sum().to(at::kDouble),
                                    not_zero.logical_and(magnitude.le(flushed_to)).sum().to(at::kDouble),
                                    magnitude.ge(near_max).sum().to(at::kDouble)})
                             .cpu();
  const double* const data = all.const_data_ptr<double>();
  return {data[0], static_cast<std::int64_t>(data[1]), static_cast<std::int64_t>(data[2]),
          static_cast<std::int64_t>(data[3])};
}

}  // namespace

ValueRange MeasureRange(const at::Tensor& values, const spec::NumberFacts& format) {
  if (values.numel() == 0) return {};
  // Half of the smallest number rounds to zero: a tie goes to the even neighbour.
  const auto flushed_to = static_cast<float>(format.min_subnormal / 2);
  const auto near_max = static_cast<float>(format.max / 2);
  const Counts counts =
      values.is_cpu() ? CountOnHost(values, flushed_to, near_max) : CountOnDevice(values, flushed_to, near_max);
  ValueRange range;
  range.max = counts.max;
  if (counts.not_zero > 0)
    range.flushed_ratio = static_cast<double>(counts.flushed) / static_cast<double>(counts.not_zero);
  range.near_max_ratio = static_cast<double>(counts.near_max) / static_cast<double>(values.numel());
  return range;
}

}  // namespace mantissa::trainer
