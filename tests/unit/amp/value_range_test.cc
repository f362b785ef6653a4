#include "worker/amp/value_range.h"

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

namespace mantissa::trainer {
namespace {

const spec::NumberFacts kHalf = spec::FactsOf(spec::NumberFormat::kFloat16);

ValueRange RangeIn(const at::Tensor& values) {
  RangeMeter meter;
  meter.Add(values, kHalf);
  return meter.Read().at(0);
}

TEST(ValueRangeTest, CountsWhatTheFormatWouldFlush) {
  // Half of 2^-24 rounds to zero, and the next number above it does not; a zero was none before.
  const float tie = 0x1p-25f;
  const ValueRange range = RangeIn(at::tensor({0.0f, tie, -tie, std::nextafter(tie, 1.0f), 3.0f}));
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
  EXPECT_DOUBLE_EQ(RangeIn(values).flushed_ratio, flushed / values.ne(0).sum().item<double>());
}

TEST(ValueRangeTest, CountsWhatIsWithinTwiceOfTheLargest) {
  const float inf = std::numeric_limits<float>::infinity();
  const ValueRange range = RangeIn(at::tensor({32752.0f, 32751.0f, -1e6f, inf}));
  EXPECT_DOUBLE_EQ(range.near_max_ratio, 3.0 / 4);
  EXPECT_EQ(range.max, 1e6f) << "the largest that is finite";
}

TEST(ValueRangeTest, NothingAndZerosHaveNoShares) {
  EXPECT_EQ(RangeIn(at::zeros({0})).max, 0);
  EXPECT_EQ(RangeIn(at::zeros({5})).flushed_ratio, 0);
}

TEST(ValueRangeTest, NaNIsNeitherLargeNorSmall) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const ValueRange range = RangeIn(at::tensor({nan, 2.0f, -nan, 0x1p-30f}));
  EXPECT_EQ(range.max, 2);
  EXPECT_EQ(range.near_max_ratio, 0);
  EXPECT_DOUBLE_EQ(range.flushed_ratio, 1.0 / 4) << "it is not zero either";
}

TEST(ValueRangeTest, ManyTensorsAreReadInTheirOrder) {
  RangeMeter meter;
  EXPECT_TRUE(meter.Read().empty());
  // More than are zeroed at once.
  for (int i = 0; i < 600; ++i) {
    EXPECT_EQ(meter.Add(at::full({i % 7 + 1}, i, at::kFloat),
                        i % 2 == 0 ? kHalf : spec::FactsOf(spec::NumberFormat::kFloat32)),
              static_cast<std::size_t>(i));
  }
  const std::vector<ValueRange> ranges = meter.Read();
  ASSERT_EQ(ranges.size(), 600u);
  for (int i = 0; i < 600; ++i) EXPECT_EQ(ranges[static_cast<std::size_t>(i)].max, i);
}

TEST(ValueRangeTest, ATransposedTensorIsTheSameValues) {
  const at::Tensor values = at::arange(12, at::kFloat).view({3, 4});
  EXPECT_EQ(RangeIn(values.t()).max, 11);
}

}  // namespace
}  // namespace mantissa::trainer
