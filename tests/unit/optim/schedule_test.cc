#include "worker/optim/schedule.h"

#include <cmath>

#include "gtest/gtest.h"

#include "mantissa/v1/training.pb.h"

namespace mantissa::trainer {
namespace {

Schedule Of(Schedule::Kind kind, std::int64_t warmup_steps, std::int64_t horizon, double final_ratio = 0) {
  Schedule schedule;
  schedule.kind = kind;
  schedule.learning_rate = 0.5;
  schedule.final_ratio = final_ratio;
  schedule.warmup_steps = warmup_steps;
  schedule.horizon = horizon;
  return schedule;
}

// cos(pi x) of a double pi: 1e-15 of the top.
constexpr double kRounding = 1e-15;

TEST(ScheduleTest, ConstantStaysAtTheTopForEver) {
  const Schedule schedule = Of(Schedule::kConstant, 0, 10, 0.25);
  for (const std::int64_t step : {0, 5, 9, 10, 1000000000}) EXPECT_EQ(LearningRateAt(schedule, step), 0.5);
}

TEST(ScheduleTest, WarmUpClimbsInEqualStepsFromAboveZeroToTheTop) {
  for (const Schedule::Kind kind : {Schedule::kConstant, Schedule::kCosine, Schedule::kLinear}) {
    const Schedule schedule = Of(kind, 4, 100);
    EXPECT_EQ(LearningRateAt(schedule, 0), 0.125);
    EXPECT_EQ(LearningRateAt(schedule, 1), 0.25);
    EXPECT_EQ(LearningRateAt(schedule, 2), 0.375);
    EXPECT_EQ(LearningRateAt(schedule, 3), 0.5);
    EXPECT_EQ(LearningRateAt(schedule, 4), 0.5);  // the decay begins from the top
  }
}

TEST(ScheduleTest, ASingleStepOfWarmUpIsAtTheTop) { EXPECT_EQ(LearningRateAt(Of(Schedule::kLinear, 1, 10), 0), 0.5); }

TEST(ScheduleTest, LinearFallsInEqualStepsToItsFinalRatio) {
  const Schedule schedule = Of(Schedule::kLinear, 0, 10, 0.2);
  EXPECT_EQ(LearningRateAt(schedule, 0), 0.5);
  EXPECT_NEAR(LearningRateAt(schedule, 5), 0.3, kRounding);
  EXPECT_NEAR(LearningRateAt(schedule, 9), 0.5 * (0.2 + 0.8 * 0.1), kRounding);
  EXPECT_NEAR(LearningRateAt(schedule, 10), 0.1, kRounding);
  EXPECT_EQ(LearningRateAt(Of(Schedule::kLinear, 0, 10), 10), 0);
}

TEST(ScheduleTest, CosineIsHalfACosineToItsFinalRatio) {
  const Schedule schedule = Of(Schedule::kCosine, 0, 12, 0.2);
  EXPECT_EQ(LearningRateAt(schedule, 0), 0.5);
  EXPECT_NEAR(LearningRateAt(schedule, 4), 0.5 * (0.2 + 0.8 * 0.75), kRounding);  // cos 60 degrees
  EXPECT_NEAR(LearningRateAt(schedule, 6), 0.5 * (0.2 + 0.8 * 0.5), kRounding);
  EXPECT_NEAR(LearningRateAt(schedule, 8), 0.5 * (0.2 + 0.8 * 0.25), kRounding);
  EXPECT_NEAR(LearningRateAt(schedule, 12), 0.1, kRounding);
}

TEST(ScheduleTest, TheDecayBeginsWhereTheWarmUpEnds) {
  const Schedule schedule = Of(Schedule::kLinear, 20, 120);
  EXPECT_EQ(LearningRateAt(schedule, 70), 0.25);
  EXPECT_NEAR(LearningRateAt(schedule, 119), 0.005, kRounding);
}

TEST(ScheduleTest, BeyondTheHorizonTheRateStaysWhereItEnded) {
  for (const Schedule::Kind kind : {Schedule::kCosine, Schedule::kLinear}) {
    const Schedule schedule = Of(kind, 3, 10, 0.2);
    for (const std::int64_t step : {10, 11, 17, 24, 1000000000}) {
      EXPECT_NEAR(LearningRateAt(schedule, step), 0.1, kRounding) << step;
    }
  }
}

TEST(ScheduleTest, AWarmUpAsLongAsTheRunOrLongerNeverDecaysInIt) {
  for (const Schedule::Kind kind : {Schedule::kCosine, Schedule::kLinear}) {
    EXPECT_EQ(LearningRateAt(Of(kind, 10, 10), 9), 0.5);
    EXPECT_EQ(LearningRateAt(Of(kind, 20, 10), 9), 0.25);
    // After it there is nothing left to decay over.
    EXPECT_NEAR(LearningRateAt(Of(kind, 10, 10, 0.2), 10), 0.1, kRounding);
    EXPECT_NEAR(LearningRateAt(Of(kind, 20, 10, 0.2), 20), 0.1, kRounding);
  }
}

TEST(ScheduleTest, ARatioOfOneIsConstant) {
  for (const Schedule::Kind kind : {Schedule::kCosine, Schedule::kLinear}) {
    for (const std::int64_t step : {0, 3, 10, 20}) EXPECT_EQ(LearningRateAt(Of(kind, 0, 10, 1), step), 0.5);
  }
}

TEST(ScheduleTest, EveryKindOfSpecArrivesWithItsFields) {
  v1::ScheduleSpec spec;
  Schedule schedule = ScheduleFrom(spec, 0.1, 500);
  EXPECT_EQ(schedule.kind, Schedule::kConstant);
  EXPECT_EQ(schedule.warmup_steps, 0);
  EXPECT_EQ(schedule.learning_rate, 0.1);
  EXPECT_EQ(schedule.horizon, 500);

  spec.mutable_constant()->set_warmup_steps(7);
  schedule = ScheduleFrom(spec, 0.1, 500);
  EXPECT_EQ(schedule.kind, Schedule::kConstant);
  EXPECT_EQ(schedule.warmup_steps, 7);

  spec.mutable_cosine()->set_warmup_steps(8);
  spec.mutable_cosine()->set_final_ratio(0.1);
  schedule = ScheduleFrom(spec, 0.2, 600);
  EXPECT_EQ(schedule.kind, Schedule::kCosine);
  EXPECT_EQ(schedule.warmup_steps, 8);
  EXPECT_EQ(schedule.final_ratio, 0.1);
  EXPECT_EQ(schedule.learning_rate, 0.2);
  EXPECT_EQ(schedule.horizon, 600);

  spec.mutable_linear()->set_warmup_steps(9);
  spec.mutable_linear()->set_final_ratio(0.3);
  schedule = ScheduleFrom(spec, 0.2, 600);
  EXPECT_EQ(schedule.kind, Schedule::kLinear);
  EXPECT_EQ(schedule.warmup_steps, 9);
  EXPECT_EQ(schedule.final_ratio, 0.3);
}

}  // namespace
}  // namespace mantissa::trainer
