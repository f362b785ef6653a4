#include "worker/amp/value_range.h"

#include <bit>

#include <ATen/ATen.h>

#include "worker/amp/op.h"
#include "worker/amp/range_counts.h"

namespace mantissa::trainer {
namespace {

RangeLimits LimitsOf(const spec::NumberFacts& format) {
  // Half of the smallest number rounds to zero: a tie goes to the even neighbour.
  return {static_cast<float>(format.min_subnormal / 2), static_cast<float>(format.max / 2)};
}

ValueRange RangeOf(const RangeCounts& counts, std::int64_t size) {
  ValueRange range;
  range.max = std::bit_cast<float>(static_cast<std::int32_t>(counts.max_bits));
  if (counts.not_zero > 0)
    range.flushed_ratio = static_cast<double>(counts.flushed) / static_cast<double>(counts.not_zero);
  if (size > 0) range.near_max_ratio = static_cast<double>(counts.near_max) / static_cast<double>(size);
  return range;
}

}  // namespace

std::size_t RangeMeter::Add(const at::Tensor& values, const spec::NumberFacts& format) {
  static const auto count_range =
      FindOp<void(const at::Tensor&, double, double, const at::Tensor&)>("mantissa::count_range");
  const auto place = static_cast<std::int64_t>(sizes_.size());
  if (place % kRows == 0) counts_.push_back(at::zeros({kRows, 4}, values.options().dtype(at::kLong)));
  const RangeLimits limits = LimitsOf(format);
  count_range.call(values.contiguous(), limits.flushed_to, limits.near_max, counts_.back()[place % kRows]);
  sizes_.push_back(values.numel());
  return static_cast<std::size_t>(place);
}

std::vector<ValueRange> RangeMeter::Read() const {
  std::vector<ValueRange> ranges;
  if (sizes_.empty()) return ranges;
  const at::Tensor all = at::cat(counts_).cpu();
  const auto* const counts = reinterpret_cast<const RangeCounts*>(all.const_data_ptr<std::int64_t>());
  for (std::size_t i = 0; i < sizes_.size(); ++i) ranges.push_back(RangeOf(counts[i], sizes_[i]));
  return ranges;
}

}  // namespace mantissa::trainer
