#include "worker/studies/loss_scale_search.h"

#include <cmath>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;

// One iteration for each list of gradients.
SampledGradients Sampled(const std::vector<std::vector<float>>& iterations) {
  SampledGradients sampled;
  for (const std::vector<float>& values : iterations) {
    MagnitudeCounts counts;
    counts.Add(values);
    ++sampled.iterations;
    if (counts.nonfinite() > 0) ++sampled.nonfinite;
    if (counts.max() > 0) sampled.largest.Add(counts.max());
    sampled.all.Merge(counts);
  }
  return sampled;
}

TEST(LossScaleSearchTest, TheBestIsTheLargestWithAFactorOfTwoToSpare) {
  // 1 times 2^15 is finite in FP16 and times 2^16 is not: 2^14 has the factor to spare.
  EXPECT_EQ(BestExponent(Sampled({{1.0f}}), 0, 24), 14);
  // 1.9997 times 2^15 is beyond 65520 already.
  EXPECT_EQ(BestExponent(Sampled({{1.9997f}}), 0, 24), 13);
  // 65520 itself overflows.
  EXPECT_EQ(BestExponent(Sampled({{65520 * 0x1p-15f}}), 0, 24), 13);
  EXPECT_EQ(BestExponent(Sampled({{std::nextafter(65520 * 0x1p-15f, 0.0f)}}), 0, 24), 14);
}

// The seed takes the norm of a tensor for its elements: of a million elements of 2^-10 the norm is 1.
TEST(LossScaleSearchTest, ElementsDecideAndNotTheNormOfTheTensor) {
  EXPECT_EQ(BestExponent(Sampled({std::vector<float>(1 << 20, 0x1p-10f)}), 0, 24), 24);
}

TEST(LossScaleSearchTest, OneElementOfOneIterationIsEnough) {
  std::vector<float> values(1000, 0x1p-20f);
  values.push_back(64);
  EXPECT_EQ(BestExponent(Sampled({{0x1p-20f}, values, {0x1p-20f}}), 0, 24), 8);
}

TEST(LossScaleSearchTest, TheBestStaysWithinTheGridAndNeverBelowIt) {
  EXPECT_EQ(BestExponent(Sampled({{0x1p-40f}}), 0, 24), 24);
  EXPECT_EQ(BestExponent(Sampled({{1e30f}}), 0, 24), 0) << "and no loss scale below 1";
  EXPECT_EQ(BestExponent(Sampled({{1.0f}}), 16, 24), 16) << "a grid that is too high has no safe scale";
  EXPECT_EQ(BestExponent(Sampled({{0.0f}}), 0, 24), 24) << "zeros overflow nowhere";
}

TEST(LossScaleSearchTest, EachScaleSaysWhatItWouldLoseAndSkip) {
  const auto candidates = SearchLossScale(Sampled({{1.0f, 0x1p-30f}, {0x1p-30f, 0.0f}}), 0, 17);
  ASSERT_EQ(candidates.size(), 18u);
  EXPECT_EQ(candidates.at(0).loss_scale(), 1);
  EXPECT_DOUBLE_EQ(candidates.at(0).flushed_share(), 2.0 / 3) << "of the elements that are not 0";
  EXPECT_EQ(candidates.at(0).overflow_share(), 0);
  EXPECT_EQ(candidates.at(5).flushed_share(), 2.0 / 3) << "2^-25 is rounded to 0";
  EXPECT_EQ(candidates.at(6).flushed_share(), 0);
  EXPECT_DOUBLE_EQ(candidates.at(6).subnormal_share(), 2.0 / 3);
  EXPECT_EQ(candidates.at(16).subnormal_share(), 0);
  EXPECT_DOUBLE_EQ(candidates.at(16).overflow_share(), 1.0 / 3);
  EXPECT_EQ(candidates.at(15).skipped_share(), 0);
  EXPECT_EQ(candidates.at(16).skipped_share(), 0.5) << "one of two iterations";
  for (std::size_t i = 0; i < candidates.size(); ++i) EXPECT_EQ(candidates[i].best(), i == 14) << i;
}

TEST(LossScaleSearchTest, AnIterationThatIsNotFiniteIsSkippedAtEveryScaleAndRulesNoneOut) {
  const SampledGradients sampled = Sampled({{1.0f, std::nanf("")}, {1.0f}});
  EXPECT_EQ(BestExponent(sampled, 0, 24), 14);
  EXPECT_EQ(SearchLossScale(sampled, 0, 24).at(0).skipped_share(), 0.5);
}

TEST(LossScaleSearchTest, TheBestIsCheckedWithTwoBelowAndTwoAbove) {
  EXPECT_THAT(ExponentsToCheck(14, 0, 24), ElementsAre(12, 13, 14, 15, 16));
  EXPECT_THAT(ExponentsToCheck(0, 0, 24), ElementsAre(0, 1, 2));
  EXPECT_THAT(ExponentsToCheck(24, 0, 24), ElementsAre(22, 23, 24));
  EXPECT_THAT(ExponentsToCheck(3, 3, 4), ElementsAre(3, 4));
}

}  // namespace
}  // namespace mantissa::trainer
