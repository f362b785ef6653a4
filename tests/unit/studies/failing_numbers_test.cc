#include "worker/studies/failures/failing_numbers.h"

#include <cmath>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

using Outcome = v1::FailureModesReport;

// What must come out with any seed.
template <class Check>
void ForSeeds(const Check& check) {
  for (const std::uint64_t seed : {0U, 1U, 7U, 12345U}) {
    SCOPED_TRACE(seed);
    check(seed);
  }
}

TEST(FailingNumbersTest, ExponentialsOverflowUnlessTheLargestLogitIsSubtracted) {
  ForSeeds([](std::uint64_t seed) {
    const Experiment softmax = SoftmaxOverflow(seed, at::kCPU);
    EXPECT_EQ(softmax.reference, 0);
    EXPECT_GT(softmax.low, 0.5);
    EXPECT_EQ(softmax.remedied, 0);
    EXPECT_EQ(Judge(softmax), Outcome::REMEDIED);
  });
}

TEST(FailingNumbersTest, ASumInTheFormatStopsGrowing) {
  ForSeeds([](std::uint64_t seed) {
    const Experiment sum = LargeReduction(seed, at::kCPU);
    EXPECT_LT(sum.reference, 1e-4);
    // It stands still at 2048, of 4096.
    EXPECT_NEAR(sum.low, 0.5, 0.05);
    EXPECT_EQ(Judge(sum), Outcome::REMEDIED);
  });
}

TEST(FailingNumbersTest, AnEpsilonBelowTheFormatProtectsNothing) {
  ForSeeds([](std::uint64_t seed) {
    const Experiment epsilon = SmallEpsilon(seed, at::kCPU);
    EXPECT_EQ(epsilon.reference, 0);
    EXPECT_GT(epsilon.low, 0.9);
    EXPECT_EQ(epsilon.remedied, 0);
    EXPECT_EQ(Judge(epsilon), Outcome::REMEDIED);
  });
}

TEST(FailingNumbersTest, UpdatesBelowHalfAStepAreLostWithoutMasters) {
  ForSeeds([](std::uint64_t seed) {
    const Experiment updates = LostUpdates(seed, at::kCPU);
    EXPECT_NEAR(updates.reference, 1, 0.01);
    EXPECT_EQ(updates.low, 0);
    EXPECT_NEAR(updates.remedied, 1, 0.01);
    EXPECT_EQ(updates.precision, v1::PrecisionSpec::BF16);
    EXPECT_EQ(Judge(updates), Outcome::REMEDIED);
  });
}

TEST(FailingNumbersTest, FrequentRowsOverflowAndRareOnesVanish) {
  ForSeeds([](std::uint64_t seed) {
    const Experiment rows = EmbeddingGradients(seed, at::kCPU);
    EXPECT_EQ(rows.reference, 0);
    // All rare rows and the one that overflows, but not the ones between.
    EXPECT_GT(rows.low, 0.5);
    EXPECT_LT(rows.low, 1);
    EXPECT_EQ(rows.remedied, 0);
    EXPECT_EQ(Judge(rows), Outcome::REMEDIED);
  });
}

TEST(FailingNumbersTest, TheSameSeedGivesTheSameNumbers) {
  const Experiment once = SoftmaxOverflow(3, at::kCPU), again = SoftmaxOverflow(3, at::kCPU);
  EXPECT_EQ(once.low, again.low);
  EXPECT_EQ(once.setting, again.setting);
  EXPECT_NE(once.setting, SoftmaxOverflow(4, at::kCPU).setting);
}

}  // namespace
}  // namespace mantissa::trainer
