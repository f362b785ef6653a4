// Which skips are worth a replay.
#include <string>

#include "gtest/gtest.h"

#include "tests/unit/amp/scaler_trace.h"
#include "worker/amp/step_decisions.h"

namespace mantissa::trainer {
namespace {

ScalerSettings Replaying() {
  ScalerSettings settings = SmallScaler();
  settings.latch = 1;
  settings.growth_interval = 1000;
  settings.replay_after = 8;
  settings.first_replay_after = 3;
  return settings;
}

// After a skip with this cause that follows `applied` iterations applied in a row.
Halt HaltAfter(const ScalerSettings& settings, int applied, SkipCause cause, std::int64_t next_replay = 0) {
  StepState state = ScalerAfter(settings, std::string(static_cast<std::size_t>(applied), '0')).state();
  state.next_replay = next_replay;
  state.found_inf = 1;
  state.cause = static_cast<std::int32_t>(cause);
  AdvanceScale(settings, &state);
  return static_cast<Halt>(state.halt);
}

TEST(ReplayDecisionTest, ASkipAfterAQuietStretchIsNews) {
  EXPECT_EQ(HaltAfter(Replaying(), 7, SkipCause::kOverflow, /*next_replay=*/1), Halt::kNone);
  EXPECT_EQ(HaltAfter(Replaying(), 8, SkipCause::kOverflow, /*next_replay=*/1), Halt::kReplay);
}

TEST(ReplayDecisionTest, ASkipBreaksTheStretch) {
  EXPECT_EQ(ScalerAfter(Replaying(), "00000 1").state().halt, static_cast<std::int32_t>(Halt::kReplay)) << "the first";
  StepState state = ScalerAfter(Replaying(), "1 00000").state();
  EXPECT_EQ(state.applied_in_row, 5);
  state.next_replay = 1;
  state.found_inf = 1;
  AdvanceScale(Replaying(), &state);
  EXPECT_EQ(state.halt, 0);
  EXPECT_EQ(state.applied_in_row, 0);
}

TEST(ReplayDecisionTest, TheFirstOfAllNeedsAScaleThatHasBeenFound) {
  EXPECT_EQ(HaltAfter(Replaying(), 0, SkipCause::kOverflow), Halt::kNone);
  EXPECT_EQ(HaltAfter(Replaying(), 2, SkipCause::kNanBackward), Halt::kNone);
  EXPECT_EQ(HaltAfter(Replaying(), 3, SkipCause::kOverflow), Halt::kReplay);
}

TEST(ReplayDecisionTest, ALossThatIsNotFiniteIsNoMatterOfTheScale) {
  EXPECT_EQ(HaltAfter(Replaying(), 0, SkipCause::kNanForward), Halt::kReplay);
  EXPECT_EQ(HaltAfter(Replaying(), 0, SkipCause::kNanForward, /*next_replay=*/1), Halt::kNone) << "not the first";
}

TEST(ReplayDecisionTest, WithoutAScaleTheFirstSkipIsNewsAtOnce) {
  ScalerSettings settings = Replaying();
  settings.enabled = 0;
  EXPECT_EQ(HaltAfter(settings, 0, SkipCause::kOverflow), Halt::kReplay);
}

TEST(ReplayDecisionTest, NoneComesBeforeItsTime) {
  EXPECT_EQ(HaltAfter(Replaying(), 20, SkipCause::kOverflow, /*next_replay=*/22), Halt::kNone);
  EXPECT_EQ(HaltAfter(Replaying(), 20, SkipCause::kOverflow, /*next_replay=*/21), Halt::kReplay);
}

TEST(ReplayDecisionTest, WithoutAReplayOrWithTheLatchOffNothingHalts) {
  ScalerSettings settings = Replaying();
  settings.replay_after = 0;
  EXPECT_EQ(HaltAfter(settings, 20, SkipCause::kOverflow), Halt::kNone);
  settings = Replaying();
  settings.latch = 0;
  EXPECT_EQ(HaltAfter(settings, 20, SkipCause::kOverflow), Halt::kNone);
}

TEST(ReplayDecisionTest, ALimitGoesBeforeAReplay) {
  ScalerSettings settings = Replaying();
  settings.max_skips_in_row = 1;
  EXPECT_EQ(HaltAfter(settings, 20, SkipCause::kOverflow), Halt::kSkipsInRow);
}

TEST(ReplayDecisionTest, AnAppliedIterationNeverHaltsForIt) {
  EXPECT_EQ(ScalerAfter(Replaying(), std::string(50, '0')).halt(), Halt::kNone);
}

}  // namespace
}  // namespace mantissa::trainer
