#include "process/clock.h"

#include <chrono>

#include <gtest/gtest.h>

#include "process/fake_clock.h"

namespace mantissa::process {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

TEST(FakeClockTest, StandsStillUntilMoved) {
  FakeClock clock;
  const SteadyTime steady = clock.Now();
  const WallTime wall = clock.WallNow();
  EXPECT_EQ(clock.Now(), steady);
  clock.Advance(seconds(5));
  EXPECT_EQ(clock.Now() - steady, seconds(5));
  EXPECT_EQ(clock.WallNow() - wall, seconds(5));
}

TEST(FakeClockTest, AStepOfTheWallClockLeavesSteadyTimeAlone) {
  FakeClock clock;
  const SteadyTime steady = clock.Now();
  const WallTime wall = clock.WallNow();
  clock.StepWall(-hours(2));
  EXPECT_EQ(clock.Now(), steady);
  EXPECT_EQ(clock.WallNow() - wall, -hours(2));
}

TEST(RealClockTest, SteadyTimeNeverGoesBack) {
  const RealClock clock;
  const SteadyTime before = clock.Now();
  EXPECT_GE(clock.Now(), before);
  EXPECT_GT(clock.WallNow().time_since_epoch(), seconds(1'600'000'000));
}

}  // namespace
}  // namespace mantissa::process
