#include "worker/studies/magnitude_counts.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <c10/util/Half.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

MagnitudeCounts CountsOf(const std::vector<float>& values) {
  MagnitudeCounts counts;
  counts.Add(values);
  return counts;
}

// What a cast of every element, times 2^exponent, makes of it.
Fp16Losses LossesByCasting(const std::vector<float>& values, int exponent) {
  Fp16Losses losses;
  for (const float value : values) {
    if (value == 0 || !std::isfinite(value)) continue;
    const double scaled = std::ldexp(double{value}, exponent);
    if (std::fabs(scaled) >= 0x1p17) {
      ++losses.overflowed;
      continue;
    }
    const auto cast = static_cast<float>(c10::Half(static_cast<float>(scaled)));
    if (cast == 0) {
      ++losses.flushed;
    } else if (std::isinf(cast)) {
      ++losses.overflowed;
    } else if (std::fabs(scaled) < 0x1p-14) {
      ++losses.subnormal;
    }
  }
  return losses;
}

void ExpectLosses(const MagnitudeCounts& counts, int exponent, std::int64_t subnormal, std::int64_t flushed,
                  std::int64_t overflowed) {
  const Fp16Losses losses = counts.LossesAt(exponent);
  EXPECT_EQ(losses.subnormal, subnormal) << "at 2^" << exponent;
  EXPECT_EQ(losses.flushed, flushed) << "at 2^" << exponent;
  EXPECT_EQ(losses.overflowed, overflowed) << "at 2^" << exponent;
}

TEST(MagnitudeCountsTest, TheSmallestNormalNumberIsNoSubnormal) {
  ExpectLosses(CountsOf({0x1p-14f}), 0, 0, 0, 0);
  ExpectLosses(CountsOf({std::nextafter(0x1p-14f, 0.0f)}), 0, 1, 0, 0);
  ExpectLosses(CountsOf({-0x1p-24f}), 0, 1, 0, 0);
}

TEST(MagnitudeCountsTest, HalfOfTheSmallestNumberIsATieAndGoesToZero) {
  ExpectLosses(CountsOf({0x1p-25f}), 0, 0, 1, 0);
  ExpectLosses(CountsOf({std::nextafter(0x1p-25f, 1.0f)}), 0, 1, 0, 0);
  ExpectLosses(CountsOf({std::nextafter(0x1p-25f, 0.0f)}), 0, 0, 1, 0);
}

TEST(MagnitudeCountsTest, InfBeginsHalfwayBeyondTheLargestNumber) {
  ExpectLosses(CountsOf({65504.0f, 65519.99f}), 0, 0, 0, 0);
  ExpectLosses(CountsOf({65520.0f}), 0, 0, 0, 1);
  ExpectLosses(CountsOf({65536.0f, -1e30f}), 0, 0, 0, 2);
}

TEST(MagnitudeCountsTest, AScaleMovesEveryBoundaryExactly) {
  const std::vector<float> values = {0x1p-30f, 0x1.8p-30f, 0x1p-20f, 65520 * 0x1p-10f, 65519.99f * 0x1p-10f};
  ExpectLosses(CountsOf(values), 0, 1, 2, 0);
  ExpectLosses(CountsOf(values), 5, 2, 1, 0);   // 2^-25 is a tie, 1.5 x 2^-25 is none, 2^-15 is below 2^-14
  ExpectLosses(CountsOf(values), 10, 2, 0, 1);  // 65520 overflows, 65519.99 does not
}

TEST(MagnitudeCountsTest, CountsAgreeWithCastingEveryElementAtEveryScale) {
  std::mt19937 random(3);
  std::vector<float> values;
  for (int i = 0; i < 20'000; ++i) values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
  // And where boundaries are, at some scale.
  for (int exponent = -149; exponent <= 127; ++exponent) {
    for (const float place : {1.0f, 65520 * 0x1p-15f, std::nextafter(65520 * 0x1p-15f, 0.0f), 1.5f}) {
      values.push_back(std::ldexp(place, exponent));
    }
  }
  const MagnitudeCounts counts = CountsOf(values);
  for (int exponent = -10; exponent <= 30; ++exponent) {
    const Fp16Losses expected = LossesByCasting(values, exponent);
    ExpectLosses(counts, exponent, expected.subnormal, expected.flushed, expected.overflowed);
  }
}

TEST(MagnitudeCountsTest, ALogarithmIsNotRoundedUpToTheNextPower) {
  // log2 of it is 10 in FP32 and, to the nearest double, in FP64.
  const float below = std::nextafter(1024.0f, 0.0f);
  EXPECT_EQ(CountsOf({below}).In(9), 1);
  EXPECT_EQ(CountsOf({below}).In(10), 0);
  EXPECT_EQ(CountsOf({1024}).In(10), 1);
  EXPECT_EQ(CountsOf({std::numeric_limits<float>::denorm_min()}).In(-149), 1);
  EXPECT_EQ(CountsOf({std::numeric_limits<float>::max()}).In(127), 1);
}

TEST(MagnitudeCountsTest, ZerosAndWhatIsNotFiniteAreCountedApart) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const MagnitudeCounts counts = CountsOf({0.0f, -0.0f, kInf, std::nanf(""), 2.0f});
  EXPECT_EQ(counts.elements(), 5);
  EXPECT_EQ(counts.zeros(), 2);
  EXPECT_EQ(counts.nonfinite(), 2);
  EXPECT_EQ(counts.counted(), 1);
  EXPECT_EQ(counts.max(), 2);
  ExpectLosses(counts, 0, 0, 0, 0);
}

TEST(MagnitudeCountsTest, MergedCountsAreThoseOfBoth) {
  MagnitudeCounts counts = CountsOf({0x1p-25f, 0.0f});
  counts.Merge(CountsOf({65520.0f, std::nanf("")}));
  EXPECT_EQ(counts.elements(), 4);
  EXPECT_EQ(counts.zeros(), 1);
  EXPECT_EQ(counts.nonfinite(), 1);
  EXPECT_EQ(counts.max(), 65520.0f);
  ExpectLosses(counts, 0, 0, 1, 1);
}

// The seed divides by a median of 0.
TEST(MagnitudeCountsTest, WithoutAnElementThereIsNoQuantile) {
  EXPECT_FALSE(CountsOf({}).QuantileLog2(0.5));
  EXPECT_FALSE(CountsOf({0, 0}).QuantileLog2(0.5));
}

TEST(MagnitudeCountsTest, QuantilesLieInTheBinThatHoldsThem) {
  std::vector<float> values(98, 0x1.8p-10f);
  values.push_back(0x1.8p-20f);
  values.push_back(1.0f);
  const MagnitudeCounts counts = CountsOf(values);
  EXPECT_GE(*counts.QuantileLog2(0.5), -10);
  EXPECT_LT(*counts.QuantileLog2(0.5), -9);
  EXPECT_GE(*counts.QuantileLog2(0.01), -20);
  EXPECT_LE(*counts.QuantileLog2(0.01), -19);
  EXPECT_LE(*counts.QuantileLog2(0.99), -9);
  EXPECT_EQ(*counts.QuantileLog2(1), 0) << "no more than the largest";
}

}  // namespace
}  // namespace mantissa::trainer
