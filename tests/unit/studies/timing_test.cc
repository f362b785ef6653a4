#include "worker/studies/machine/timing.h"

#include <chrono>
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/studies/study_place.h"

namespace mantissa::trainer {
namespace {

using ::testing::SizeIs;

// Operations that take as long as they are told to, by a clock that only they move.
class TimingTest : public ::testing::Test {
 protected:
  // Notes its name at every call.
  TimedOperation Takes(const std::string& name, std::function<std::chrono::nanoseconds()> duration) {
    return [this, name, duration] {
      calls_ += name;
      clock_.Advance(duration());
    };
  }
  TimedOperation Takes(const std::string& name, std::chrono::nanoseconds duration) {
    return Takes(name, [duration] { return duration; });
  }

  process::FakeClock clock_;
  FakeObserver observer_;
  std::string calls_;
};

TEST_F(TimingTest, TellsEachOperationsOwnTime) {
  const auto timings = TimeInTurn({Takes("a", std::chrono::milliseconds(2)), Takes("b", std::chrono::milliseconds(6))},
                                  {.rounds = 5}, clock_, observer_);
  ASSERT_TRUE(timings);
  ASSERT_THAT(*timings, SizeIs(2));
  EXPECT_DOUBLE_EQ((*timings)[0].median_seconds, 2e-3);
  EXPECT_DOUBLE_EQ((*timings)[1].median_seconds, 6e-3);
  EXPECT_EQ((*timings)[0].rounds, 5);
}

TEST_F(TimingTest, WarmsUpAndThenTakesTurns) {
  ASSERT_TRUE(TimeInTurn({Takes("a", std::chrono::milliseconds(1)), Takes("b", std::chrono::milliseconds(1))},
                         {.rounds = 3}, clock_, observer_));
  // Four calls of each to warm up and to see how long they take; then rounds.
  EXPECT_EQ(calls_, "aaaabbbbababab");
}

TEST_F(TimingTest, WhatTheWarmUpTookIsNotInTheTimes) {
  int call = 0;
  const auto timings = TimeInTurn({Takes("a", [&] { return std::chrono::milliseconds(++call <= 3 ? 500 : 1); })},
                                  {.rounds = 3}, clock_, observer_);
  EXPECT_DOUBLE_EQ(timings->front().p95_seconds, 1e-3);
}

TEST_F(TimingTest, ShortOperationsAreCalledUntilATurnIsLongEnough) {
  const auto timings =
      TimeInTurn({Takes("a", std::chrono::microseconds(1))}, {.rounds = 3, .turn_seconds = 49.5e-6}, clock_, observer_);
  EXPECT_THAT(calls_, SizeIs(4 + 3 * 50));
  EXPECT_NEAR(timings->front().median_seconds, 1e-6, 1e-12);
}

TEST_F(TimingTest, AnInterruptedWarmUpDoesNotShortenTheTurns) {
  int call = 0;
  TimeInTurn({Takes("a", [&] { return std::chrono::microseconds(++call == 4 ? 500 : 10); })},
             {.rounds = 3, .turn_seconds = 49.5e-6}, clock_, observer_);
  EXPECT_THAT(calls_, SizeIs(4 + 3 * 5));
}

TEST_F(TimingTest, TheMedianIgnoresAnOutlierThatTheTailShows) {
  int call = 0;
  const auto timings = TimeInTurn({Takes("a", [&] { return std::chrono::milliseconds(++call == 10 ? 100 : 1); })},
                                  {.rounds = 11}, clock_, observer_);
  EXPECT_DOUBLE_EQ(timings->front().median_seconds, 1e-3);
  // Halfway between the two largest of eleven.
  EXPECT_NEAR(timings->front().p95_seconds, (1e-3 + 100e-3) / 2, 1e-9);
}

TEST_F(TimingTest, RoundsAreFewerWhereTheyWouldTakeTooLongButThreeAtLeast) {
  const TimedOperation slow = Takes("a", std::chrono::seconds(1));
  EXPECT_EQ(TimeInTurn({slow}, {.rounds = 30, .most_seconds = 7}, clock_, observer_)->front().rounds, 7);
  EXPECT_EQ(TimeInTurn({slow}, {.rounds = 30, .most_seconds = 1}, clock_, observer_)->front().rounds, kFewestRounds);
  EXPECT_EQ(TimeInTurn({slow}, {.rounds = 2, .most_seconds = 1}, clock_, observer_)->front().rounds, 2);
}

TEST_F(TimingTest, AnOperationThatTakesNoTimeIsStillTimed) {
  const auto timings = TimeInTurn({Takes("a", std::chrono::nanoseconds(0))}, {.rounds = 3}, clock_, observer_);
  EXPECT_EQ(timings->front().median_seconds, 0);
  EXPECT_EQ(timings->front().rounds, 3);
}

TEST_F(TimingTest, AStopLeavesNoTimes) {
  FakeObserver stopped(0);
  EXPECT_FALSE(TimeInTurn({Takes("a", std::chrono::milliseconds(1))}, {.rounds = 3}, clock_, stopped));
  EXPECT_EQ(calls_, "");
  // In the middle, as well.
  FakeObserver later(1);
  later.Done(0, 1, "");
  const TimedOperation until = [&] {
    calls_ += "b";
    if (calls_.size() == 6) later.Done(1, 1, "six calls");
    clock_.Advance(std::chrono::milliseconds(1));
  };
  EXPECT_FALSE(TimeInTurn({until}, {.rounds = 30}, clock_, later));
  EXPECT_EQ(calls_, "bbbbbb");
}

}  // namespace
}  // namespace mantissa::trainer
