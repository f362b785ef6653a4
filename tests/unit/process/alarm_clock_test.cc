#include "process/alarm_clock.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::process {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

SteadyTime In(std::chrono::nanoseconds time) { return std::chrono::steady_clock::now() + time; }

// What rang, in order, and a way to wait for it.
class Bell {
 public:
  std::function<void()> Tone(int tone) {
    return [this, tone] {
      MutexLock lock(mutex_);
      rung_.push_back(tone);
      changed_.NotifyAll();
    };
  }
  std::vector<int> WaitFor(size_t count) {
    MutexLock lock(mutex_);
    while (rung_.size() < count) changed_.Wait(mutex_);
    return rung_;
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<int> rung_ ABSL_GUARDED_BY(mutex_);
};

TEST(AlarmClock, AlarmsRingInTheOrderOfTheirTimes) {
  Bell bell;
  AlarmClock clock;
  const SteadyTime soon = In(milliseconds(30));
  clock.Set(soon + milliseconds(20), bell.Tone(3));
  clock.Set(soon, bell.Tone(1));
  clock.Set(soon, bell.Tone(2));
  EXPECT_THAT(bell.WaitFor(3), testing::ElementsAre(1, 2, 3));
  EXPECT_GE(std::chrono::steady_clock::now(), soon + milliseconds(20)) << "none rings early";
}

TEST(AlarmClock, OneThatIsSetForEarlierIsNotHeldUpByOneForLater) {
  Bell bell;
  AlarmClock clock;
  clock.Set(In(hours(1)), bell.Tone(2));
  clock.Set(In(milliseconds(1)), bell.Tone(1));
  EXPECT_THAT(bell.WaitFor(1), testing::ElementsAre(1));
}

TEST(AlarmClock, WhatIsCancelledDoesNotRing) {
  Bell bell;
  AlarmClock clock;
  const AlarmClock::Alarm cancelled = clock.Set(In(milliseconds(20)), bell.Tone(1));
  clock.Set(In(milliseconds(40)), bell.Tone(2));
  clock.Cancel(cancelled);
  EXPECT_THAT(bell.WaitFor(1), testing::ElementsAre(2));
  clock.Cancel(cancelled);
}

TEST(AlarmClock, AnAlarmMaySetTheNext) {
  Bell bell;
  AlarmClock clock;
  clock.Set(In(milliseconds(1)), [&] {
    bell.Tone(1)();
    clock.Set(In(milliseconds(1)), bell.Tone(2));
  });
  EXPECT_THAT(bell.WaitFor(2), testing::ElementsAre(1, 2));
}

TEST(AlarmClock, ItGoesWithoutWaitingForWhatHasNotRung) {
  AlarmClock clock;
  clock.Set(In(hours(1)), [] { ADD_FAILURE() << "an hour has not passed"; });
}

}  // namespace
}  // namespace mantissa::process
