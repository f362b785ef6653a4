#include "worker/studies/run/run_history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;

// Losses are the iterations' numbers.
RunHistory Counting(std::int64_t iterations) {
  RunHistory history;
  for (std::int64_t i = 1; i <= iterations; ++i)
    history.Add({i, static_cast<double>(i), 0.001 * static_cast<double>(i)});
  return history;
}

TEST(RunHistoryTest, TheLastQuarterIsRoundedUpToWholeIterations) {
  EXPECT_THAT(Counting(8).LastQuarter(8), ElementsAre(7, 8));
  EXPECT_THAT(Counting(9).LastQuarter(9), ElementsAre(7, 8, 9));
  EXPECT_THAT(Counting(1).LastQuarter(1), ElementsAre(1));
  EXPECT_EQ(*Counting(8).LastQuarterLoss(8), 7.5);
}

TEST(RunHistoryTest, ARunThatEndedBeforeItsLastQuarterHasNoLossThere) {
  EXPECT_THAT(Counting(6).LastQuarter(8), ElementsAre());
  EXPECT_FALSE(Counting(6).LastQuarterLoss(8));
}

TEST(RunHistoryTest, WhereEveryIterationWasSkippedThereIsNoLoss) {
  RunHistory history = Counting(6);
  history.Add({7, 7, 0.001, /*applied=*/false});
  EXPECT_FALSE(history.LastQuarterLoss(8));
  history.Add({8, 9, 0.001, /*applied=*/true});
  EXPECT_EQ(*history.LastQuarterLoss(8), 8);
}

TEST(RunHistoryTest, TimesLeaveOutTheWarmUpAndWhatPaidForOthers) {
  RunHistory history;
  history.Add({1, 0, 1.0});
  history.Add({2, 0, 2.0});
  history.Add({3, 0, 3.0, true, /*timed=*/false});
  history.Add({4, 0, 4.0});
  EXPECT_THAT(history.SecondsAfter(1), ElementsAre(2.0, 4.0));
  EXPECT_THAT(history.SecondsAfter(0), ElementsAre(1.0, 2.0, 4.0));
  EXPECT_THAT(history.SecondsAfter(4), ElementsAre());
}

TEST(RunHistoryTest, ALongRunKeepsEvenlySpacedIterationsInABoundedPlace) {
  const RunHistory history = Counting(5 * static_cast<std::int64_t>(RunHistory::kMost));
  EXPECT_EQ(history.stride(), 8);
  EXPECT_LE(history.points().size(), RunHistory::kMost);
  EXPECT_GT(history.points().size(), RunHistory::kMost / 2);
  for (std::size_t i = 0; i < history.points().size(); ++i) {
    ASSERT_EQ(history.points()[i].iteration, 8 * static_cast<std::int64_t>(i + 1));
  }
  EXPECT_EQ(Counting(100).stride(), 1);
}

}  // namespace
}  // namespace mantissa::trainer
