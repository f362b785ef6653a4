#include <chrono>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/study_place.h"
#include "tests/unit/studies/worked_clock.h"
#include "tests/unit/trainer/ticking_clock.h"
#include "worker/studies/failures/experiment.h"
#include "worker/studies/failures/failing_models.h"
#include "worker/studies/study.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Outcome = v1::FailureModesReport;
using Modes = v1::FailureModes;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

Experiment Numbers(double reference, double low, double remedied) {
  Experiment experiment;
  experiment.mode = Modes::LARGE_REDUCTION;
  experiment.quantity = "error";
  experiment.reference = reference;
  experiment.low = low;
  experiment.remedied = remedied;
  experiment.tolerance = 0.1;
  experiment.setting = "A sum";
  experiment.cause = "it stops";
  experiment.remedy = "With more bits";
  return experiment;
}

TEST(JudgeTest, AFailureIsRemediedOrNot) {
  EXPECT_EQ(Judge(Numbers(0, 1, 0.05)), Outcome::REMEDIED);
  EXPECT_EQ(Judge(Numbers(0, 1, 0.5)), Outcome::NOT_REMEDIED);
  EXPECT_EQ(Judge(Numbers(1, 0, 0.95)), Outcome::REMEDIED);
}

TEST(JudgeTest, WhatDidNotFailIsNotShown) {
  EXPECT_EQ(Judge(Numbers(0, 0.05, 0)), Outcome::NOT_SHOWN);
  EXPECT_EQ(Judge(Numbers(0, 0.1, 5)), Outcome::NOT_SHOWN);
  EXPECT_EQ(Judge(Numbers(1, 0.95, 1)), Outcome::NOT_SHOWN);
}

TEST(JudgeTest, ANumberThatIsNotFiniteIsAFailure) {
  EXPECT_EQ(Judge(Numbers(0, kNan, 0)), Outcome::REMEDIED);
  EXPECT_EQ(Judge(Numbers(0, -kInf, 0)), Outcome::REMEDIED);
  EXPECT_EQ(Judge(Numbers(0, kInf, kNan)), Outcome::NOT_REMEDIED);
}

TEST(JudgeTest, WhereFp32FailsTooNothingIsTold) {
  EXPECT_EQ(Judge(Numbers(kNan, kNan, 0)), Outcome::NOT_SHOWN);
  EXPECT_THAT(RowOf(Numbers(kInf, 1, 0)).what_happened(), HasSubstr("FP32 fails, too"));
}

TEST(JudgeTest, WhereOnlyMoreIsWorseLessIsNone) {
  Experiment times = Numbers(1, 0.5, 0.5);
  EXPECT_EQ(Judge(times), Outcome::NOT_REMEDIED);
  times.only_above = true;
  EXPECT_EQ(Judge(times), Outcome::NOT_SHOWN);
  times.low = 1.2;
  times.remedied = 0.5;
  EXPECT_EQ(Judge(times), Outcome::REMEDIED);
  times.remedied = 1.2;
  EXPECT_EQ(Judge(times), Outcome::NOT_REMEDIED);
}

TEST(FailureRowTest, SentencesFollowTheNumbers) {
  const v1::FailureRow failed = RowOf(Numbers(0, 1, 0.05));
  EXPECT_EQ(failed.what_happened(), "A sum; error: 0 in FP32, 1 in FP16. Why: it stops.");
  EXPECT_EQ(failed.remedy(), "With more bits: 0.05, as good as FP32.");
  EXPECT_EQ(failed.low(), 1);
  const v1::FailureRow fine = RowOf(Numbers(0, 0.01, 0));
  EXPECT_EQ(fine.what_happened(), "A sum; error: 0 in FP32, 0.01 in FP16. It did not fail here.");
  EXPECT_EQ(fine.remedy(), "With more bits: 0; it was not needed.");
  EXPECT_THAT(RowOf(Numbers(0, 1, 2)).remedy(), HasSubstr("2, which does not put it right"));
}

TEST(FailureFindingTest, CountsWhatHappened) {
  Outcome report;
  for (const Experiment& experiment : {Numbers(0, 1, 0), Numbers(0, 1, 1), Numbers(0, 0, 0)}) {
    *report.add_modes() = RowOf(experiment);
  }
  report.mutable_modes(1)->set_mode(Modes::SMALL_EPSILON);
  report.mutable_modes(2)->set_mode(Modes::LOST_UPDATES);
  v1::FailureRow& lacks = *report.add_modes();
  lacks.set_mode(Modes::SOFTMAX_OVERFLOW);
  lacks.set_outcome(Outcome::UNSUPPORTED);
  EXPECT_EQ(FailureFinding(report),
            "2 of 4 failed here. Put right by their remedies: LARGE_REDUCTION. Not put right by their remedies: "
            "SMALL_EPSILON. Did not fail with these numbers: LOST_UPDATES. Not run: SOFTMAX_OVERFLOW.");
}

TEST(FailingModelsTest, APathologicalModelLosesGradientsToUnderflowUnlessTheLossIsScaled) {
  const StudyPlace place;
  for (const std::uint64_t seed : {0U, 1U, 2U, 42U}) {
    const auto experiment = PathologicalModel(seed, place.environment());
    ASSERT_TRUE(experiment.ok()) << experiment.status();
    SCOPED_TRACE(RowOf(*experiment).ShortDebugString());
    // In FP32 there are gradients to lose: a flat tanh alone would be no failure of FP16.
    EXPECT_LT(experiment->reference, 0.01);
    EXPECT_GT(experiment->low, 0.5);
    EXPECT_EQ(Judge(*experiment), Outcome::REMEDIED);
  }
}

TEST(FailureModesTest, EveryModeIsARowWithItsNumbersAndSentences) {
  const StudyPlace place;
  FakeObserver observer;
  v1::Report report;
  ASSERT_TRUE(RunFailureModes({}, place.environment(), observer, report).ok());
  const Outcome& result = report.failure_modes();
  ASSERT_EQ(result.modes_size(), 7);
  for (int i = 0; i < result.modes_size(); ++i) {
    const v1::FailureRow& row = result.modes(i);
    SCOPED_TRACE(row.ShortDebugString());
    EXPECT_EQ(row.mode(), static_cast<Modes::Mode>(i + 1));
    EXPECT_TRUE(row.has_reference() && row.has_low() && row.has_remedied());
    EXPECT_FALSE(row.what_happened().empty() || row.remedy().empty() || row.quantity().empty());
    // How long something takes is not for a test to say.
    if (row.mode() == Modes::SMALL_MODEL_OVERHEAD) {
      EXPECT_GT(row.low(), 0);
      EXPECT_GT(row.remedied(), 0);
    } else {
      EXPECT_EQ(row.outcome(), Outcome::REMEDIED);
    }
  }
  EXPECT_EQ(report.finding(), FailureFinding(result));
  EXPECT_FALSE(report.partial());
  EXPECT_EQ(observer.total, 7);
  EXPECT_EQ(observer.said.size(), 7U);
}

TEST(FailureModesTest, OnlyTheModesThatAreAskedForAndTheDeviceHas) {
  StudyPlace place;
  place.precisions = {v1::PrecisionSpec::FP32, v1::PrecisionSpec::BF16};
  FakeObserver observer;
  v1::Report report;
  Modes spec;
  spec.add_modes(Modes::LOST_UPDATES);
  spec.add_modes(Modes::SMALL_EPSILON);
  ASSERT_TRUE(RunFailureModes(spec, place.environment(), observer, report).ok());
  ASSERT_EQ(report.failure_modes().modes_size(), 2);
  EXPECT_EQ(report.failure_modes().modes(0).outcome(), Outcome::REMEDIED);
  const v1::FailureRow& lacks = report.failure_modes().modes(1);
  EXPECT_EQ(lacks.outcome(), Outcome::UNSUPPORTED);
  EXPECT_FALSE(lacks.has_low());
  EXPECT_THAT(lacks.note(), AllOf(HasSubstr("cpu"), HasSubstr("FP16")));
}

TEST(FailureModesTest, AStoppedStudyKeepsWhatItHas) {
  const StudyPlace place;
  FakeObserver observer(1);
  v1::Report report;
  Modes spec;
  spec.add_modes(Modes::LOST_UPDATES);
  spec.add_modes(Modes::SMALL_EPSILON);
  ASSERT_TRUE(RunFailureModes(spec, place.environment(), observer, report).ok());
  EXPECT_TRUE(report.partial());
  EXPECT_EQ(report.failure_modes().modes_size(), 1);
  EXPECT_THAT(report.limits(), testing::Contains(HasSubstr("stopped after 1 of 2")));
}

TEST(FailureModesTest, ASmallModelThatIsAsFastDoesNotFail) {
  // Every look at it is a second later, so that all take equally long.
  const TickingClock clock(std::chrono::seconds(1));
  StudyPlace place;
  place.clock = &clock;
  FakeObserver observer;
  const auto overhead = SmallModelOverhead(0, place.environment(), observer);
  ASSERT_TRUE(overhead.ok() && overhead->has_value());
  EXPECT_DOUBLE_EQ((*overhead)->low, 1);
  EXPECT_DOUBLE_EQ((*overhead)->remedied, 1);
  EXPECT_EQ(Judge(**overhead), Outcome::NOT_SHOWN);
  EXPECT_THAT((*overhead)->cause, HasSubstr("cost more than products of this size save"));
}

// The seed times one model in both precisions. Where time is operations, casts are what a low precision adds.
TEST(FailureModesTest, EachPrecisionOfTheSmallModelTrainsAModelOfItsOwn) {
  const OperationClock clock;
  StudyPlace place;
  place.clock = &clock;
  FakeObserver observer;
  const auto overhead = SmallModelOverhead(0, place.environment(), observer);
  ASSERT_TRUE(overhead.ok() && overhead->has_value());
  EXPECT_GT((*overhead)->low, 1);
  EXPECT_GT((*overhead)->remedied, 1);
}

TEST(FailureModesTest, AStopWithinAnExperimentLeavesItOut) {
  const StudyPlace place;
  FakeObserver stopped(0);
  const auto overhead = SmallModelOverhead(0, place.environment(), stopped);
  ASSERT_TRUE(overhead.ok());
  EXPECT_FALSE(overhead->has_value());
}

}  // namespace
}  // namespace mantissa::trainer
