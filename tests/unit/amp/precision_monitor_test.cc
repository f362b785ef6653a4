#include "worker/amp/precision_monitor.h"

#include <string>
#include <string_view>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::trainer {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// A run seen through its records. The scale starts at 2^16.
class ObservedRun {
 public:
  explicit ObservedRun(const MonitorSettings& settings = OneWindow()) : monitor_(settings) {}

  // Statistics of the window that decides.
  static MonitorSettings OneWindow() {
    MonitorSettings settings;
    settings.statistics_window = settings.window;
    return settings;
  }

  Phase Apply(int times = 1) { return Repeat(times, true, 1); }
  // An overflow that hysteresis forgave, or a skip in BF16: the scale stays.
  Phase Skip(int times = 1) { return Repeat(times, false, 1); }
  Phase BackOff(int times = 1) { return Repeat(times, false, 0.5); }
  Phase Grow() { return Repeat(1, true, 2); }
  Phase HaltFor(Halt halt) {
    halt_ = halt;
    return Skip();
  }

  const PrecisionMonitor& monitor() const { return monitor_; }

 private:
  Phase Repeat(int times, bool applied, double factor) {
    Phase phase = monitor_.phase();
    for (int i = 0; i < times; ++i) {
      IterationRecord record;
      record.iteration = ++iteration_;
      record.applied = applied;
      record.loss_scale = scale_;
      scale_ *= factor;
      record.next_loss_scale = scale_;
      record.halt = halt_;
      phase = monitor_.Observe(record);
    }
    return phase;
  }

  PrecisionMonitor monitor_;
  std::int64_t iteration_ = 0;
  double scale_ = 65536;
  Halt halt_ = Halt::kNone;
};

TEST(PrecisionMonitorTest, ARunIsCalibratingUntilFiftyWereApplied) {
  ObservedRun run;
  EXPECT_EQ(run.monitor().phase(), Phase::kCalibrating);
  EXPECT_EQ(run.Apply(49), Phase::kCalibrating);
  EXPECT_EQ(run.Apply(), Phase::kSteady);
  EXPECT_EQ(run.monitor().phase(), Phase::kSteady);
}

TEST(PrecisionMonitorTest, SkipsThatFindTheScaleNeverCountAgainstARun) {
  ObservedRun run;
  EXPECT_EQ(run.BackOff(100), Phase::kCalibrating);
  EXPECT_EQ(run.Apply(49), Phase::kCalibrating);
  EXPECT_EQ(run.Apply(), Phase::kSteady);
  EXPECT_EQ(run.monitor().stats().skipped_ratio, 0);
  EXPECT_EQ(run.monitor().stats().skipped, 100);  // they are in the totals
}

TEST(PrecisionMonitorTest, CalibrationEndsWithTwentyAppliedInARow) {
  // The 19 and 19 are no row of 20: these backoffs are calibration's.
  ObservedRun searching;
  searching.Apply(19);
  searching.BackOff();
  searching.Apply(19);
  EXPECT_EQ(searching.BackOff(4), Phase::kCalibrating);
  EXPECT_EQ(searching.monitor().stats().skipped_ratio, 0);

  ObservedRun calibrated;
  calibrated.Apply(20);
  EXPECT_EQ(calibrated.BackOff(3), Phase::kCalibrating);
  EXPECT_EQ(calibrated.BackOff(), Phase::kUnstable);
}

TEST(PrecisionMonitorTest, ASkipEmptiesTheWindowOnlyWhileCalibrating) {
  ObservedRun run;
  run.Apply(10);
  run.Skip();
  run.Apply(20);
  run.Skip();
  // The window: 20 applied and one skipped.
  EXPECT_DOUBLE_EQ(run.monitor().stats().skipped_ratio, 1.0 / 21);
}

TEST(PrecisionMonitorTest, ARunThatNeverSettlesIsJudgedAfterAWholeWindow) {
  ObservedRun run;
  for (int i = 0; i < 99; ++i) {
    run.Apply();
    EXPECT_EQ(run.BackOff(), Phase::kCalibrating);
  }
  EXPECT_EQ(run.Apply(), Phase::kCalibrating);
  // The 200th is the first skip that counts; the fourth backoff is one too many.
  EXPECT_EQ(run.BackOff(), Phase::kCalibrating);
  EXPECT_EQ(run.BackOff(2), Phase::kCalibrating);
  EXPECT_EQ(run.BackOff(), Phase::kUnstable);
}

TEST(PrecisionMonitorTest, SteadyNeedsLessThanOnePercentSkipped) {
  ObservedRun run;
  run.Apply(20);
  run.Skip();
  EXPECT_EQ(run.Apply(79), Phase::kCalibrating);  // 1 of 100 is one percent
  EXPECT_EQ(run.Apply(), Phase::kSteady);         // 1 of 101 is less
}

TEST(PrecisionMonitorTest, MoreThanFivePercentOfAWindowSkippedIsUnstable) {
  ObservedRun run;
  run.Apply(200);
  EXPECT_EQ(run.Skip(10), Phase::kSteady);
  EXPECT_EQ(run.Skip(), Phase::kUnstable);
}

TEST(PrecisionMonitorTest, FourBackoffsInAWindowAreUnstable) {
  ObservedRun run;
  run.Apply(200);
  EXPECT_EQ(run.BackOff(3), Phase::kSteady);
  EXPECT_EQ(run.BackOff(), Phase::kUnstable);
}

TEST(PrecisionMonitorTest, BetweenTheTwoLimitsThePhaseStaysWhatItWas) {
  ObservedRun steady;
  steady.Apply(200);
  EXPECT_EQ(steady.Skip(2), Phase::kSteady);  // one percent: no longer enough to become steady
  EXPECT_EQ(steady.Apply(100), Phase::kSteady);

  ObservedRun unstable;
  unstable.Apply(200);
  unstable.BackOff(4);
  EXPECT_EQ(unstable.Apply(196), Phase::kUnstable);  // the four are the oldest of the window
  EXPECT_EQ(unstable.Apply(), Phase::kUnstable);     // three and two of 200
  EXPECT_EQ(unstable.Apply(), Phase::kUnstable);
  EXPECT_EQ(unstable.Apply(), Phase::kSteady);  // one of 200
}

TEST(PrecisionMonitorTest, TheWindowForgetsItsOldestIterations) {
  ObservedRun run;
  run.Apply(20);
  run.BackOff(3);
  run.Skip(2);
  run.Apply(175);
  EXPECT_DOUBLE_EQ(run.monitor().stats().skipped_ratio, 5.0 / 200);
  EXPECT_DOUBLE_EQ(run.monitor().stats().stability_score.value(), 1 - 3.0 / 200);
  run.Apply(22);  // the 20 applied ones and two of the backoffs leave
  EXPECT_DOUBLE_EQ(run.monitor().stats().skipped_ratio, 3.0 / 200);
  EXPECT_DOUBLE_EQ(run.monitor().stats().stability_score.value(), 1 - 1.0 / 200);
  run.Apply(3);
  EXPECT_EQ(run.monitor().stats().skipped_ratio, 0);
  EXPECT_EQ(run.monitor().stats().stability_score, 1);
  // Three new backoffs do not add to the three that left.
  EXPECT_EQ(run.BackOff(3), Phase::kSteady);
}

TEST(PrecisionMonitorTest, TheStabilityScoreWaitsForAFullWindow) {
  ObservedRun run;
  EXPECT_FALSE(run.monitor().stats().stability_score.has_value());
  run.Apply(199);
  EXPECT_FALSE(run.monitor().stats().stability_score.has_value());
  run.Apply();
  EXPECT_EQ(run.monitor().stats().stability_score, 1);
}

TEST(PrecisionMonitorTest, GrowthAndForgivenOverflowsAreNoBackoffs) {
  ObservedRun run;
  run.Apply(196);
  run.Grow();
  run.Skip(2);
  run.Grow();
  EXPECT_EQ(run.monitor().stats().stability_score, 1);
  EXPECT_DOUBLE_EQ(run.monitor().stats().skipped_ratio, 2.0 / 200);
}

TEST(PrecisionMonitorTest, CountsIterationsOfTheWholeRun) {
  ObservedRun run;
  EXPECT_EQ(run.monitor().stats().iterations, 0);
  EXPECT_EQ(run.monitor().stats().skipped_ratio, 0);
  run.BackOff(3);
  run.Apply(300);
  run.Skip();
  const PrecisionStats stats = run.monitor().stats();
  EXPECT_EQ(stats.iterations, 304);
  EXPECT_EQ(stats.applied, 300);
  EXPECT_EQ(stats.skipped, 4);
}

TEST(PrecisionMonitorTest, RemembersTheRangeOfTheScale) {
  ObservedRun run;
  run.Apply(20);
  EXPECT_EQ(run.monitor().stats().min_loss_scale, 65536);
  EXPECT_EQ(run.monitor().stats().max_loss_scale, 65536);
  run.BackOff(2);
  run.Grow();
  EXPECT_EQ(run.monitor().stats().min_loss_scale, 16384);
  EXPECT_EQ(run.monitor().stats().max_loss_scale, 65536);
  run.Grow();
  run.Grow();
  EXPECT_EQ(run.monitor().stats().max_loss_scale, 131072);
}

TEST(PrecisionMonitorTest, TheRangeOfTheScaleHasBothEndsOfTheFirstIteration) {
  ObservedRun grown;
  grown.Grow();
  EXPECT_EQ(grown.monitor().stats().min_loss_scale, 65536);
  EXPECT_EQ(grown.monitor().stats().max_loss_scale, 131072);
  ObservedRun lowered;
  lowered.BackOff();
  EXPECT_EQ(lowered.monitor().stats().min_loss_scale, 32768);
  EXPECT_EQ(lowered.monitor().stats().max_loss_scale, 32768) << "a scale that was only tried";
}

TEST(PrecisionMonitorTest, EachLimitCanBeSet) {
  MonitorSettings settings;
  settings.calibrated_after = 2;
  settings.steady_after = 4;
  settings.steady_below = 0.5;
  settings.unstable_above = 0.3;
  settings.unstable_backoffs = 2;
  settings.window = 10;
  settings.statistics_window = 10;

  ObservedRun run(settings);
  EXPECT_EQ(run.Apply(3), Phase::kCalibrating);
  EXPECT_EQ(run.Apply(), Phase::kSteady);  // steady_after
  EXPECT_EQ(run.Skip(3), Phase::kSteady);  // not above 0.3 of 10
  EXPECT_EQ(run.Skip(), Phase::kUnstable);
  // Four of the window stay skipped until the four applied before them have left it; then three of 10 are below
  // steady_below.
  EXPECT_EQ(run.Apply(6), Phase::kUnstable);
  EXPECT_EQ(run.monitor().stats().stability_score, 1);  // window
  EXPECT_EQ(run.Apply(), Phase::kSteady);

  ObservedRun backing(settings);
  backing.Apply(2);  // calibrated_after
  EXPECT_EQ(backing.BackOff(), Phase::kCalibrating);
  EXPECT_EQ(backing.BackOff(), Phase::kUnstable);  // unstable_backoffs
}

TEST(PrecisionMonitorTest, SkipsAloneAskForNoIntervention) {
  ObservedRun run;
  run.Apply(100);
  run.BackOff(60);
  EXPECT_FALSE(run.monitor().Intervention().has_value());
}

TEST(PrecisionMonitorTest, AScaleAtItsFloorEndsTheRunWithARemedy) {
  ObservedRun run;
  run.BackOff(15);
  run.HaltFor(Halt::kScaleAtFloor);
  ASSERT_TRUE(run.monitor().Intervention().has_value());
  EXPECT_EQ(run.monitor().Intervention()->reason, Halt::kScaleAtFloor);
  EXPECT_THAT(run.monitor().Intervention()->message,
              AllOf(HasSubstr("iteration 16"), HasSubstr("floor, 2."), HasSubstr("BF16"), HasSubstr("learning rate"),
                    HasSubstr("max_grad_norm")));
}

TEST(PrecisionMonitorTest, TooManySkipsInARowEndTheRunWithTheirNumberAndARemedy) {
  ObservedRun run;
  run.Skip(5);
  run.Apply();
  run.Skip(49);
  run.HaltFor(Halt::kSkipsInRow);
  ASSERT_TRUE(run.monitor().Intervention().has_value());
  EXPECT_EQ(run.monitor().Intervention()->reason, Halt::kSkipsInRow);
  EXPECT_THAT(run.monitor().Intervention()->message,
              AllOf(HasSubstr("iteration 56"), HasSubstr("50 iterations in a row"), HasSubstr("learning rate"),
                    HasSubstr("earlier checkpoint")));
}

TEST(PrecisionMonitorTest, AScaleTooSmallToHelpEndsTheRunWithARemedy) {
  ObservedRun run;
  run.BackOff(31);
  run.HaltFor(Halt::kScaleTooSmall);
  ASSERT_TRUE(run.monitor().Intervention().has_value());
  EXPECT_EQ(run.monitor().Intervention()->reason, Halt::kScaleTooSmall);
  EXPECT_THAT(run.monitor().Intervention()->message,
              AllOf(HasSubstr("iteration 32"), HasSubstr("3.05176e-05"), HasSubstr("FP16"), HasSubstr("BF16"),
                    HasSubstr("learning rate")));
}

TEST(PrecisionMonitorTest, TheFirstReasonStays) {
  ObservedRun run;
  run.HaltFor(Halt::kSkipsInRow);
  const std::string message = run.monitor().Intervention()->message;
  run.HaltFor(Halt::kScaleAtFloor);
  EXPECT_EQ(run.monitor().Intervention()->reason, Halt::kSkipsInRow);
  EXPECT_EQ(run.monitor().Intervention()->message, message);
}

}  // namespace
}  // namespace mantissa::trainer
