#include "worker/studies/machine/timing.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <string>

#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/studies/study_place.h"

namespace mantissa::trainer {
namespace {

using ::testing::SizeIs;

// A device that works off what it is given while the host goes on, as a GPU does. An event is the instant at which the
// device has done all that it was given before.
class QueueDevice final : public c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1> {
 public:
  // That it is one after another; the host's clock is `host`.
  static void Begin(process::FakeClock& host) {
    host_ = &host;
    done_ = host.Now();
  }
  // Costs the host `launch`, and the device `work`.
  static void Launch(std::chrono::nanoseconds launch, std::chrono::nanoseconds work) {
    host_->Advance(launch);
    done_ = std::max(done_, host_->Now()) + work;
  }

  c10::DeviceIndex deviceCount() const noexcept override { return 0; }  // for LibTorch there is none
  void record(void** event, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {
    events_.push_back(std::max(done_, host_->Now()));
    *event = &events_.back();
  }
  bool queryEvent(void* event) const override { return At(event) <= host_->Now(); }
  void synchronizeEvent(void* event) const override {
    if (At(event) > host_->Now()) host_->Advance(At(event) - host_->Now());
  }
  double elapsedTime(void* from, void* to, c10::DeviceIndex) const override {
    return std::chrono::duration<double, std::milli>(At(to) - At(from)).count();
  }

 private:
  static process::SteadyTime At(void* event) { return *static_cast<process::SteadyTime*>(event); }

  static inline process::FakeClock* host_ = nullptr;
  static inline process::SteadyTime done_;
  static inline std::deque<process::SteadyTime> events_;  // whose places stay
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, QueueDevice)

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

// The seed reads the clock when it has launched, and times launches.
TEST_F(TimingTest, TimesAreTheDevicesAndNotThoseOfItsLaunches) {
  QueueDevice::Begin(clock_);
  const TimedOperation large = [] {
    QueueDevice::Launch(std::chrono::microseconds(2), std::chrono::microseconds(300));
  };
  const TimedOperation small = [] { QueueDevice::Launch(std::chrono::microseconds(2), std::chrono::microseconds(20)); };
  const TimedOperation tiny = [] { QueueDevice::Launch(std::chrono::microseconds(2), std::chrono::nanoseconds(10)); };
  const auto timings = TimeInTurn(
      {large, small, tiny}, {.device = c10::Device(c10::DeviceType::PrivateUse1), .rounds = 5}, clock_, observer_);
  ASSERT_TRUE(timings);
  EXPECT_NEAR((*timings)[0].median_seconds, 300e-6, 3e-6);
  EXPECT_NEAR((*timings)[1].median_seconds, 20e-6, 1e-6);
  EXPECT_NEAR((*timings)[2].median_seconds, 2e-6, 0.1e-6) << "which is its launch, and no longer the device's";
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
