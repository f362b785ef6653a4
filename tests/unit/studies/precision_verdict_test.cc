#include "worker/studies/report/precision_verdict.h"

#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_join.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Report = v1::PrecisionComparisonReport;
using Mode = v1::PrecisionSpec;

ComparedRun RunOf(std::uint64_t seed, double seconds, std::vector<double> losses) {
  ComparedRun run;
  run.seed = seed;
  run.seconds.assign(10, seconds);
  run.last_quarter = std::move(losses);
  run.iterations = 40;
  return run;
}

// Three seeds, whose losses are 1, 1.2 and 1.4: 0.2667 from each other on average.
ComparedPrecision Reference(double seconds = 2) {
  ComparedPrecision precision{.mode = Mode::FP32};
  for (int seed = 0; seed < 3; ++seed) {
    const double loss = 1 + 0.2 * seed;
    precision.runs.push_back(RunOf(static_cast<std::uint64_t>(seed), seconds, {loss, loss}));
  }
  return precision;
}

// The same, each loss moved by `shift`.
ComparedPrecision Moved(Mode::Mode mode, double shift, double seconds) {
  ComparedPrecision precision = Reference(seconds);
  precision.mode = mode;
  for (ComparedRun& run : precision.runs) {
    for (double& loss : run.last_quarter) loss += shift;
  }
  return precision;
}

Report ReportOf(const std::vector<ComparedPrecision>& precisions) {
  Report report;
  Compare(precisions, 64, report);
  return report;
}

std::string ReasonsOf(const Report& report) { return absl::StrJoin(report.reasons(), "; "); }

TEST(PrecisionVerdictTest, FarFromFp32IsFartherThanItsSeedsAreFromEachOther) {
  const Report report = ReportOf({Reference(), Moved(Mode::BF16, 0.1, 1), Moved(Mode::FP16, 0.5, 1)});
  ASSERT_EQ(report.precisions_size(), 3);
  EXPECT_EQ(report.precisions(0).verdict(), Report::REFERENCE);
  EXPECT_NEAR(report.precisions(0).noise(), 0.8 / 3, 1e-12);
  EXPECT_FALSE(report.precisions(0).has_distance());
  EXPECT_EQ(report.precisions(1).verdict(), Report::WITHIN_NOISE);
  EXPECT_NEAR(report.precisions(1).distance(), 0.1, 1e-12);
  EXPECT_NEAR(report.precisions(1).loss(), 1.3, 1e-12);
  EXPECT_EQ(report.precisions(2).verdict(), Report::DIFFERENT);
  EXPECT_NEAR(report.precisions(2).distance(), 0.5, 1e-12);
}

TEST(PrecisionVerdictTest, DistancesAreOfIterationsAndDoNotCancelOut) {
  ComparedPrecision swinging = Reference(1);
  swinging.mode = Mode::BF16;
  for (ComparedRun& run : swinging.runs) {
    run.last_quarter[0] += 0.5;
    run.last_quarter[1] -= 0.5;
  }
  const Report report = ReportOf({Reference(), swinging});
  EXPECT_NEAR(report.precisions(1).distance(), 0.5, 1e-12);
  EXPECT_EQ(report.precisions(1).verdict(), Report::DIFFERENT);
}

// The windows of seeds differ, so that losses of one iteration lie far apart whatever the precision does.
TEST(PrecisionVerdictTest, ALossThatIsHigherThroughoutIsNotHiddenByTheNoiseOfWindows) {
  ComparedPrecision reference = Reference();
  reference.runs[0].last_quarter = {0, 2};
  reference.runs[1].last_quarter = {2, 0};
  reference.runs[2].last_quarter = {0, 2};
  ComparedPrecision higher = reference;
  higher.mode = Mode::BF16;
  for (ComparedRun& run : higher.runs) {
    for (double& loss : run.last_quarter) loss += 0.5;
  }
  const Report report = ReportOf({reference, higher});
  EXPECT_LT(report.precisions(1).distance(), report.precisions(1).noise());
  EXPECT_EQ(report.precisions(1).verdict(), Report::DIFFERENT);
  EXPECT_THAT(report.precisions(1).note(), HasSubstr("its mean loss lies 0.5 above FP32's"));
  EXPECT_THAT(ReasonsOf(report), HasSubstr("BF16 trains to another loss: its mean loss lies 0.5 above FP32's"));
}

// As one iteration of a run may go wrong in any precision.
TEST(PrecisionVerdictTest, ASpikeInTheLossOfOneSeedIsNoOtherLoss) {
  ComparedPrecision reference = Reference();
  for (ComparedRun& run : reference.runs) run.last_quarter = {1, 3, 1, 3};
  reference.runs[1].last_quarter = {3, 1, 3, 1};
  ComparedPrecision spiked = reference;
  spiked.mode = Mode::BF16;
  spiked.runs[0].last_quarter[0] += 4;
  const Report report = ReportOf({reference, spiked});
  EXPECT_LT(report.precisions(1).distance(), report.precisions(1).noise());
  EXPECT_EQ(report.precisions(1).verdict(), Report::WITHIN_NOISE);
  EXPECT_EQ(report.precisions(1).note(), "");
}

TEST(PrecisionVerdictTest, WithOneSeedNothingIsDecided) {
  ComparedPrecision reference = Reference();
  reference.runs.resize(1);
  ComparedPrecision other = Moved(Mode::BF16, 0, 1);
  other.runs.resize(1);
  const Report report = ReportOf({reference, other});
  EXPECT_EQ(report.precisions(0).verdict(), Report::REFERENCE);
  EXPECT_EQ(report.precisions(1).verdict(), Report::UNDECIDED);
  EXPECT_FALSE(report.precisions(1).has_noise());
  EXPECT_TRUE(report.precisions(1).has_distance());
  EXPECT_FALSE(report.precisions(1).has_distance_low());
  EXPECT_TRUE(report.precisions(1).has_speedup());
  EXPECT_FALSE(report.precisions(1).has_speedup_low());
  EXPECT_EQ(report.recommended(), Mode::MODE_UNSPECIFIED);
  EXPECT_THAT(ReasonsOf(report), HasSubstr("two or more seeds"));
}

TEST(PrecisionVerdictTest, TheFastestThatTrainsAsWellIsRecommended) {
  const Report report =
      ReportOf({Reference(2), Moved(Mode::BF16, 0.01, 1), Moved(Mode::FP16, 0.01, 0.8), Moved(Mode::TF32, 0.9, 0.1)});
  EXPECT_EQ(report.recommended(), Mode::FP16);
  EXPECT_NEAR(report.precisions(2).speedup(), 2.5, 1e-9);
  EXPECT_NEAR(report.precisions(2).speedup_low(), 2.5, 1e-9) << "every seed says the same";
  EXPECT_THAT(
      ReasonsOf(report),
      AllOf(HasSubstr("FP16 trains as FP32 does"), HasSubstr("2.5 times FP32's speed (95 % interval 2.5 to 2.5)"),
            HasSubstr("BF16 is slower"), HasSubstr("TF32 trains to another loss: 0.9 from FP32's")));
  EXPECT_THAT(ReasonsOf(report), AllOf(Not(HasSubstr("FP32 is slower")), Not(HasSubstr("FP16 is slower"))));
  EXPECT_THAT(ComparisonFinding(report, 3),
              AllOf(HasSubstr("Over 3 seeds"), HasSubstr("BF16 WITHIN_NOISE at a distance of 0.01 (noise "),
                    HasSubstr("), 2 times as fast"), HasSubstr("TF32 DIFFERENT"), HasSubstr("Train in FP16")));
}

TEST(PrecisionVerdictTest, WhereNoneIsFasterFp32IsRecommended) {
  const Report report = ReportOf({Reference(1), Moved(Mode::BF16, 0.01, 2)});
  EXPECT_EQ(report.recommended(), Mode::FP32);
  EXPECT_NEAR(report.precisions(1).speedup(), 0.5, 1e-9);
  EXPECT_THAT(ReasonsOf(report), AllOf(HasSubstr("no precision that trains as FP32 does is faster"),
                                       HasSubstr("BF16 is slower: 0.5 times")));
  EXPECT_THAT(ComparisonFinding(report, 3), HasSubstr("Train in FP32"));
}

TEST(PrecisionVerdictTest, AGainThatSeedsDoNotAgreeOnIsNotCertain) {
  ComparedPrecision uneven = Moved(Mode::BF16, 0.01, 1.8);
  uneven.runs[0].seconds.assign(10, 1.0);
  uneven.runs[1].seconds.assign(10, 2.5);
  const Report report = ReportOf({Reference(2), uneven});
  ASSERT_EQ(report.recommended(), Mode::BF16);
  EXPECT_LT(report.precisions(1).speedup_low(), 1);
  EXPECT_GT(report.precisions(1).speedup_high(), report.precisions(1).speedup());
  EXPECT_THAT(ReasonsOf(report), HasSubstr("its interval holds 1"));
  EXPECT_THAT(ReasonsOf(ReportOf({Reference(2), Moved(Mode::BF16, 0.01, 1)})), Not(HasSubstr("its interval holds 1")));
}

// As `uneven` seeds make it: about 1 s an iteration, with a wide interval.
ComparedPrecision Uneven(Mode::Mode mode, double first, double last) {
  ComparedPrecision precision = Moved(mode, 0.01, 1);
  precision.runs[0].seconds.assign(10, first);
  precision.runs[2].seconds.assign(10, last);
  return precision;
}

TEST(PrecisionVerdictTest, OfTwoSpeedsThatAreNotToldApartTheOneWithoutALossScaleIsTaken) {
  const Report report = ReportOf({Reference(2), Moved(Mode::BF16, 0.01, 1), Uneven(Mode::FP16, 0.7, 1.2)});
  ASSERT_GT(report.precisions(2).speedup(), report.precisions(1).speedup()) << "FP16 is faster, by little";
  ASSERT_LT(report.precisions(2).speedup_low(), report.precisions(1).speedup_high());
  EXPECT_EQ(report.recommended(), Mode::BF16);
  EXPECT_THAT(ReasonsOf(report), AllOf(HasSubstr("none of those is faster by more than the intervals"),
                                       HasSubstr("FP16 is not told apart in speed from BF16"),
                                       HasSubstr("needs a loss scale"), Not(HasSubstr("FP16 is slower"))));
}

TEST(PrecisionVerdictTest, TheRangeOfFp32IsNoReasonAgainstAnyOtherThanFp16) {
  const Report report = ReportOf({Reference(2), Moved(Mode::FP16, 0.01, 1), Uneven(Mode::BF16, 0.7, 1.2)});
  EXPECT_EQ(report.recommended(), Mode::BF16) << "the faster one, and it needs no scale";
  EXPECT_THAT(ReasonsOf(report),
              AllOf(HasSubstr("it is the fastest of those"), HasSubstr("not told apart in speed from BF16")));
}

TEST(PrecisionVerdictTest, AnFp16ThatMayBeNoFasterThanFp32IsNotTaken) {
  const Report report = ReportOf({Reference(1), Uneven(Mode::FP16, 0.6, 1.1)});
  ASSERT_GT(report.precisions(1).speedup(), 1);
  EXPECT_EQ(report.recommended(), Mode::FP32);
  EXPECT_THAT(ReasonsOf(report), AllOf(HasSubstr("FP16 is not told apart in speed from FP32"),
                                       HasSubstr("is faster than FP32 here by more than the intervals")));
}

TEST(PrecisionVerdictTest, ASpeedThatIsNotToldApartIsNotCalledSlower) {
  const Report report = ReportOf({Reference(1), Uneven(Mode::BF16, 0.7, 1.6)});
  ASSERT_LT(report.precisions(1).speedup(), 1);
  ASSERT_GT(report.precisions(1).speedup_high(), 1);
  EXPECT_EQ(report.recommended(), Mode::FP32);
  EXPECT_THAT(ReasonsOf(report),
              AllOf(HasSubstr("BF16 is not told apart in speed from FP32"), Not(HasSubstr("slower")),
                    Not(HasSubstr("needs a loss scale")), Not(HasSubstr("more than the intervals"))));
}

TEST(PrecisionVerdictTest, WhatTheDeviceHasNoRoomForIsARowAndTheOthersAreCompared) {
  const Report report = ReportOf(
      {Reference(2), Moved(Mode::BF16, 0.01, 1), {.mode = Mode::FP16, .failure = "the device's memory was used up"}});
  EXPECT_EQ(report.precisions(2).verdict(), Report::FAILED);
  EXPECT_EQ(report.precisions(2).note(), "the device's memory was used up");
  EXPECT_EQ(report.recommended(), Mode::BF16);
  EXPECT_THAT(ReasonsOf(report), HasSubstr("FP16 failed: the device's memory was used up"));
}

TEST(PrecisionVerdictTest, WhereFp32HasNoRoomItSaysSo) {
  const Report report =
      ReportOf({{.mode = Mode::FP32, .failure = "the device's memory was used up"}, Moved(Mode::BF16, 0, 1)});
  EXPECT_EQ(report.precisions(0).verdict(), Report::FAILED);
  EXPECT_EQ(report.precisions(1).verdict(), Report::UNDECIDED);
  EXPECT_FALSE(report.precisions(1).has_speedup());
  EXPECT_THAT(ReasonsOf(report), HasSubstr("FP32 itself failed, so there is nothing to compare with: the device's"));
}

TEST(PrecisionVerdictTest, AFailureIsARowThatSaysWhichSeedsFailedAndHow) {
  ComparedPrecision failed = Moved(Mode::FP16, 0, 0.1);
  failed.runs[1].failure = "the loss scale fell to 2^-15 at iteration 31, too small to help";
  failed.runs[1].last_quarter = {100, 100};
  ComparedPrecision infinite = Moved(Mode::BF16, 0, 0.1);
  infinite.runs[0].last_quarter[1] = std::numeric_limits<double>::infinity();
  const Report report = ReportOf({Reference(), failed, infinite});
  EXPECT_EQ(report.precisions(1).verdict(), Report::FAILED);
  EXPECT_THAT(report.precisions(1).note(), AllOf(HasSubstr("1 of 3 runs failed; seed 1:"), HasSubstr("too small")));
  EXPECT_FALSE(report.precisions(1).has_distance());
  EXPECT_NEAR(report.precisions(1).loss(), 1.2, 1e-12) << "of the seeds that did not fail";
  EXPECT_EQ(report.precisions(2).verdict(), Report::FAILED);
  EXPECT_THAT(report.precisions(2).note(), HasSubstr("seed 0: the loss of its last quarter is not finite"));
  EXPECT_EQ(report.recommended(), Mode::FP32) << "however fast they are";
  EXPECT_THAT(ComparisonFinding(report, 3), AllOf(HasSubstr("FP16 FAILED; BF16 FAILED."), Not(HasSubstr("as fast"))));
  EXPECT_THAT(ReasonsOf(report), HasSubstr("FP16 failed: "));
}

TEST(PrecisionVerdictTest, WhereFp32FailsThereIsNothingToCompareWith) {
  ComparedPrecision reference = Reference();
  reference.runs[2].failure = "one iteration after another was skipped, up to iteration 50";
  const Report report = ReportOf({reference, Moved(Mode::BF16, 0, 1)});
  EXPECT_EQ(report.precisions(0).verdict(), Report::FAILED);
  EXPECT_EQ(report.precisions(1).verdict(), Report::UNDECIDED);
  EXPECT_EQ(report.recommended(), Mode::MODE_UNSPECIFIED);
  EXPECT_THAT(ComparisonFinding(report, 3), HasSubstr("No precision can be recommended: FP32 itself failed"));
}

TEST(PrecisionVerdictTest, WhatTheDeviceLacksIsARowWithoutNumbers) {
  const Report report = ReportOf({Reference(), {.mode = Mode::TF32, .unsupported = "cpu has no arithmetic for TF32"}});
  EXPECT_EQ(report.precisions(1).verdict(), Report::UNSUPPORTED);
  EXPECT_EQ(report.precisions(1).note(), "cpu has no arithmetic for TF32");
  EXPECT_FALSE(report.precisions(1).has_median_seconds());
  EXPECT_THAT(ReasonsOf(report), HasSubstr("TF32 is not supported: cpu has no arithmetic"));
}

TEST(PrecisionVerdictTest, TimesAreTheMedianAndThe95thPercentileOfAllSeeds) {
  ComparedPrecision reference = Reference();
  for (ComparedRun& run : reference.runs) {
    run.seconds = {1, 2, 3, 4, 101};
    run.skipped = 4;
    run.eval_loss = 0.5 + 0.1 * static_cast<double>(run.seed);
  }
  const v1::PrecisionRow row = ReportOf({reference}).precisions(0);
  EXPECT_EQ(row.median_seconds(), 3);
  EXPECT_EQ(row.p95_seconds(), 101);
  EXPECT_DOUBLE_EQ(row.samples_per_second(), 64.0 / 3);
  EXPECT_DOUBLE_EQ(row.skipped_share(), 0.1);
  EXPECT_DOUBLE_EQ(row.eval_loss(), 0.6);
  EXPECT_EQ(row.speedup(), 1);
}

TEST(PrecisionVerdictTest, WithoutATimedIterationNothingIsSaidOfSpeed) {
  ComparedPrecision reference = Reference();
  ComparedPrecision other = Moved(Mode::BF16, 0.01, 1);
  for (ComparedRun& run : reference.runs) run.seconds.clear();
  for (ComparedRun& run : other.runs) run.seconds.clear();
  const Report report = ReportOf({reference, other});
  EXPECT_FALSE(report.precisions(1).has_speedup());
  EXPECT_THAT(ComparisonFinding(report, 3), Not(HasSubstr("times as fast")));
  EXPECT_THAT(report.precisions(1).note(), HasSubstr("no iteration is left to be timed"));
  EXPECT_EQ(report.precisions(1).verdict(), Report::WITHIN_NOISE) << "losses do not need times";
  EXPECT_EQ(report.recommended(), Mode::MODE_UNSPECIFIED);
  EXPECT_THAT(ReasonsOf(report), HasSubstr("nothing was timed"));
}

TEST(PrecisionVerdictTest, ASeedThatWasNotTimedIsNoPartOfTheSpeed) {
  ComparedPrecision other = Moved(Mode::BF16, 0.01, 1);
  other.runs[1].seconds.clear();
  const Report report = ReportOf({Reference(2), other});
  EXPECT_NEAR(report.precisions(1).speedup(), 2, 1e-9);
  EXPECT_NEAR(report.precisions(1).speedup_high(), 2, 1e-9);
}

TEST(PrecisionVerdictTest, BeforeASeedIsDoneNothingIsKnown) {
  const Report report = ReportOf({{.mode = Mode::FP32}, {.mode = Mode::BF16}});
  EXPECT_EQ(report.precisions(0).verdict(), Report::UNDECIDED);
  EXPECT_EQ(report.precisions(1).verdict(), Report::UNDECIDED);
  EXPECT_THAT(ComparisonFinding(report, 0), HasSubstr("no seed was done before the study was stopped"));
}

}  // namespace
}  // namespace mantissa::trainer
