#include "worker/amp/value_range.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

namespace mantissa::trainer {
namespace {

const spec::NumberFacts kHalf = spec::FactsOf(spec::NumberFormat::kFloat16);

TEST(ValueRangeTest, CountsWhatTheFormatWouldFlush) {
  // Half of 2^-24 rounds to zero, and the next number above it does not; a zero was none before.
  const float tie = 0x1p-25f;
  const ValueRange range = MeasureRange(at::tensor({0.0f, tie, -tie, std::nextafter(tie, 1.0f), 3.0f}), kHalf);
  EXPECT_DOUBLE_EQ(range.flushed_ratio, 2.0 / 4);
  EXPECT_EQ(range.max, 3);
  EXPECT_EQ(range.near_max_ratio, 0);
}

TEST(ValueRangeTest, AgreesWithTheFormatsOwnRounding) {
  at::manual_seed(7);
  const at::Tensor values = at::randn({4096}) * at::exp2(at::randint(-40, 0, {4096}, at::kFloat));
  const at::Tensor rounded = values.to(at::kHalf).to(at::kFloat);
  const double flushed = rounded.eq(0).logical_and(values.ne(0)).sum().item<double>();
  ASSERT_GT(flushed, 100);
  EXPECT_DOUBLE_EQ(MeasureRange(values, kHalf).flushed_ratio, flushed / values.ne(0).sum().item<double>());
}

TEST(ValueRangeTest, CountsWhatIsWithinTwiceOfTheLargest) {
  const float inf = std::numeric_limits<float>::infinity();
  const ValueRange range = MeasureRange(at::tensor({32752.0f, 32751.0f, -1e6f, inf}), kHalf);
  EXPECT_DOUBLE_EQ(range.near_max_ratio, 3.0 / 4);
  EXPECT_EQ(range.max, 1e6f) << "the largest that is finite";
}

TEST(ValueRangeTest, NothingAndZerosHaveNoShares) {
  EXPECT_EQ(MeasureRange(at::zeros({0}), kHalf).max, 0);
  EXPECT_EQ(MeasureRange(at::zeros({5}), kHalf).flushed_ratio, 0);
}

TEST(ValueRangeTest, ATransposedTensorIsTheSameValues) {
  const at::Tensor values = at::arange(12, at::kFloat).view({3, 4});
  EXPECT_EQ(MeasureRange(values.t(), kHalf).max, 11);
}

}  // namespace
}  // namespace mantissa::trainer
