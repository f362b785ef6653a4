#include <map>
#include <set>
#include <string>

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec/study_report.h"
#include "tests/unit/studies/counted_memory.h"
#include "tests/unit/studies/small_study.h"
#include "tests/unit/studies/study_place.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/machine/host.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using Mode = v1::PrecisionSpec;
using Report = v1::PrecisionComparisonReport;

constexpr char kTwoSeeds[] = "precision_comparison { precisions: [FP32, BF16, FP16] seeds: 2 warm_up_iterations: 2 }";
constexpr char kHidden[] = "model { mlp { hidden: 8 } } iterations: 60 seed: 7 ";

std::map<Mode::Mode, v1::PrecisionRow> RowsOf(const v1::Report& report) {
  std::map<Mode::Mode, v1::PrecisionRow> rows;
  for (const v1::PrecisionRow& row : report.precision_comparison().precisions()) rows[row.precision()] = row;
  return rows;
}

// Losses of one run, in order of iterations.
std::vector<double> CurveOf(const v1::Report& report, Mode::Mode mode, std::uint64_t seed) {
  std::vector<double> losses;
  for (const v1::LossCurvePoint& point : report.precision_comparison().curves()) {
    if (point.precision() == mode && point.seed() == seed) losses.push_back(point.loss());
  }
  return losses;
}

TEST(PrecisionComparisonTest, EveryPrecisionHasARowAndEveryRunACurve) {
  const StudySeen seen = RunSmallStudy(kTwoSeeds, kHidden);
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const auto rows = RowsOf(seen.report);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows.at(Mode::FP32).verdict(), Report::REFERENCE);
  for (const auto& [mode, row] : rows) {
    EXPECT_GT(row.median_seconds(), 0) << Mode::Mode_Name(mode);
    EXPECT_GE(row.p95_seconds(), row.median_seconds());
    EXPECT_GT(row.loss(), 0);
    EXPECT_EQ(CurveOf(seen.report, mode, 7).size(), 60u);
    EXPECT_EQ(CurveOf(seen.report, mode, 8).size(), 60u);
    EXPECT_EQ(CurveOf(seen.report, mode, 9).size(), 0u);
    EXPECT_FALSE(row.has_peak_memory_bytes()) << "a CPU does not say what is allocated";
  }
  EXPECT_EQ(seen.observer.total, 2 * 3 * 2);
  EXPECT_EQ(seen.observer.done, seen.observer.total);
  EXPECT_THAT(seen.observer.said, Contains(HasSubstr("BF16, seed 8, iteration 60 of 60: loss ")));
  EXPECT_FALSE(seen.report.partial());
  EXPECT_THAT(seen.report.limits(), AllOf(Contains(HasSubstr("A CPU does not say what is allocated")),
                                          Not(Contains(HasSubstr("one graph")))));
}

// The seed's BF16 scales its loss, too, and the scaler of its comparison is never used. By no power of two, so that
// scaling would be seen in what is rounded.
TEST(PrecisionComparisonTest, TheLossScaleIsFp16sAlone) {
  const v1::Report plain = RunSmallStudy(kTwoSeeds, kHidden).report;
  const v1::Report scaled =
      RunSmallStudy(kTwoSeeds, std::string(kHidden) + "precision { loss_scale { init: 3000 min: 3000 max: 3000 } }")
          .report;
  EXPECT_EQ(CurveOf(scaled, Mode::FP32, 7), CurveOf(plain, Mode::FP32, 7));
  EXPECT_EQ(CurveOf(scaled, Mode::BF16, 7), CurveOf(plain, Mode::BF16, 7));
  EXPECT_NE(CurveOf(scaled, Mode::FP16, 7), CurveOf(plain, Mode::FP16, 7));
}

// The seed compares on a layer of 4 TB.
TEST(PrecisionComparisonTest, AModelThatFitsNoDeviceIsRefusedBeforeItIsBuilt) {
  const StudySeen seen = RunSmallStudy(kTwoSeeds, "model { mlp { hidden: [1000000, 1000000] } }");
  EXPECT_EQ(ReasonOf(seen.status), v1::Reason::OUT_OF_DEVICE_MEMORY) << seen.status;
  EXPECT_THAT(std::string(seen.status.message()), HasSubstr("study.precision_comparison.training."));
  EXPECT_EQ(seen.observer.total, 0) << "and nothing was begun";
}

// A batch of 4096 samples takes some 200 MB of activations.
TEST(PrecisionComparisonTest, WhatDoesNotFitAtOnceIsCutOnlyWhereTheTrainerMayChoose) {
  const std::string wide =
      "data { train { synthetic { samples: 4096 } } } model { mlp { hidden: 4096 } } batch_size: 4096 iterations: 1 ";
  const std::string one = "precision_comparison { precisions: FP32 seeds: 1 }";
  const StudyConditions small = {.memory_limit_bytes = ResidentMemory() + (96 << 20)};
  EXPECT_EQ(ReasonOf(RunSmallStudy(one, wide, small).status), v1::Reason::OUT_OF_DEVICE_MEMORY);
  const StudySeen cut = RunSmallStudy(one, wide + "micro_batch: AUTO", small);
  EXPECT_TRUE(cut.status.ok()) << cut.status;
  EXPECT_EQ(RowsOf(cut.report).at(Mode::FP32).verdict(), Report::REFERENCE);
}

TEST(PrecisionComparisonTest, HeldOutDataIsEvaluatedInTheMicroBatchesThatWereChosen) {
  const std::string wide =
      "data { train { synthetic { samples: 8192 } } } model { mlp { hidden: 4096 } } "
      "batch_size: 8192 iterations: 1 micro_batch: AUTO ";
  const std::string eval = "data { eval { synthetic { samples: 8192 shape: 6 classes: 3 } } } ";
  const StudyConditions small = {.memory_limit_bytes = ResidentMemory() + (96 << 20)};
  const std::int64_t peak = PeakDuring([&] {
    const StudySeen seen = RunSmallStudy("precision_comparison { precisions: FP32 seeds: 1 }", wide + eval, small);
    EXPECT_TRUE(seen.status.ok()) << seen.status;
  });
  EXPECT_LT(peak, 112 << 20) << peak << ": all samples at once would take 128 MiB a layer";
}

// A device whose memory ends where a run of FP16 begins to train.
class CrowdedObserver final : public StudyObserver {
 public:
  bool stop_requested() override { return false; }
  void Done(std::int32_t, std::int32_t, const std::string& what) override {
    if (what.find("FP16, seed") == 0) throw c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, "out of memory");
  }
};

TEST(PrecisionComparisonTest, APrecisionThatUsesUpTheMemoryIsARowAndTheOthersGoOn) {
  auto study = From<v1::StudySpec>(kTwoSeeds);
  *study.mutable_precision_comparison()->mutable_training() = SmallSpec(kHidden).training();
  const StudyPlace place;
  CrowdedObserver observer;
  v1::Report report;
  const absl::Status status = RunStudy(study, place.environment(), observer, report);
  ASSERT_TRUE(status.ok()) << status;
  const auto rows = RowsOf(report);
  EXPECT_EQ(rows.at(Mode::FP16).verdict(), Report::FAILED);
  EXPECT_THAT(rows.at(Mode::FP16).note(), HasSubstr("the device's memory was used up"));
  EXPECT_EQ(rows.at(Mode::FP32).verdict(), Report::REFERENCE);
  EXPECT_GT(rows.at(Mode::BF16).speedup(), 0);
  EXPECT_EQ(CurveOf(report, Mode::BF16, 7).size(), 60u) << "what was tried with all at once counts once";
  EXPECT_EQ(CurveOf(report, Mode::BF16, 8).size(), 60u);
  EXPECT_FALSE(report.partial());
  EXPECT_THAT(report.limits(), Contains(HasSubstr("one after another, not in turn")));
}

// The seed's comparison trains one model in both precisions, one after the other.
TEST(PrecisionComparisonTest, AllPrecisionsOfASeedBeginFromTheSameWeightsOverTheSameWindows) {
  const StudySeen seen = RunSmallStudy(kTwoSeeds, kHidden);
  const std::vector<double> full = CurveOf(seen.report, Mode::FP32, 7);
  const std::vector<double> low = CurveOf(seen.report, Mode::BF16, 7);
  EXPECT_NEAR(low.front(), full.front(), 0.01) << "of the untrained model, but for rounding";
  EXPECT_NEAR(low.back(), full.back(), 0.2);
  EXPECT_NE(low, full) << "and yet it is another precision";
  EXPECT_NE(CurveOf(seen.report, Mode::FP32, 8), full);
  // What FP32 does is what an ordinary run does.
  SmallRun alone(kHidden);
  FakeControl control;
  for (std::size_t i = 0; i < full.size(); ++i) {
    ASSERT_TRUE(alone.program().Run(static_cast<std::int64_t>(i), control));
    ASSERT_EQ(alone.state().step_state().loss, full[i]) << i;
  }
}

TEST(PrecisionComparisonTest, DistancesAreThoseOfTheCurves) {
  const StudySeen seen = RunSmallStudy(kTwoSeeds, kHidden);
  double distance = 0;
  for (const std::uint64_t seed : {7, 8}) {
    const std::vector<double> full = CurveOf(seen.report, Mode::FP32, seed);
    const std::vector<double> low = CurveOf(seen.report, Mode::FP16, seed);
    for (std::size_t i = 45; i < 60; ++i) distance += std::fabs(full[i] - low[i]) / 30;
  }
  EXPECT_NEAR(RowsOf(seen.report).at(Mode::FP16).distance(), distance, 1e-12);
}

TEST(PrecisionComparisonTest, ItSaysTheSameNumbersInEveryRun) {
  const v1::Report first = RunSmallStudy(kTwoSeeds, kHidden).report;
  EXPECT_EQ(ComparableText(RunSmallStudy(kTwoSeeds, kHidden).report), ComparableText(first));
  EXPECT_NE(ComparableText(RunSmallStudy(kTwoSeeds, std::string(kHidden) + "seed: 9").report), ComparableText(first));
}

TEST(PrecisionComparisonTest, WithoutPrecisionsThoseOfTheDeviceAreCompared) {
  const auto rows = RowsOf(RunSmallStudy("precision_comparison { seeds: 1 }", "iterations: 4").report);
  EXPECT_EQ(rows.size(), 3u);
  EXPECT_TRUE(rows.contains(Mode::FP16));
  EXPECT_FALSE(rows.contains(Mode::TF32));
}

TEST(PrecisionComparisonTest, WhatTheDeviceLacksIsARowAndWhatIsEmulatedSaysSo) {
  const std::string spec = "precision_comparison { precisions: [TF32] seeds: 1 }";
  const v1::PrecisionRow lacking = RowsOf(RunSmallStudy(spec, "iterations: 4").report).at(Mode::TF32);
  EXPECT_EQ(lacking.verdict(), Report::UNSUPPORTED);
  EXPECT_THAT(lacking.note(), HasSubstr("cpu has no arithmetic for TF32"));
  const v1::PrecisionRow emulated =
      RowsOf(RunSmallStudy(spec, "iterations: 4 precision { emulate: true }").report).at(Mode::TF32);
  EXPECT_EQ(emulated.verdict(), Report::UNDECIDED);
  EXPECT_THAT(emulated.note(), HasSubstr("EMULATED"));
}

TEST(PrecisionComparisonTest, APrecisionThatFailsIsARowAndTheOthersGoOn) {
  // A scale far too large for FP16 that may not fall.
  const StudySeen seen = RunSmallStudy(
      kTwoSeeds, "model { mlp { hidden: 8 } } iterations: 60 precision { loss_scale { init: 1e12 min: 1e12 } }");
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const auto rows = RowsOf(seen.report);
  EXPECT_EQ(rows.at(Mode::FP16).verdict(), Report::FAILED);
  EXPECT_THAT(rows.at(Mode::FP16).note(), HasSubstr("2 of 2 runs failed; seed 0: iteration 1 overflowed"));
  EXPECT_EQ(rows.at(Mode::FP16).skipped_share(), 1);
  EXPECT_NE(rows.at(Mode::BF16).verdict(), Report::FAILED);
  EXPECT_EQ(seen.observer.done, seen.observer.total) << "what is left of a run that failed is done with";
}

TEST(PrecisionComparisonTest, MemoryIsThatOfEachPrecisionWithAllItKeeps) {
  const auto rows = RowsOf(RunSmallStudy(kTwoSeeds, kHidden).report);
  const std::int64_t parameters = 4 * (6 * 8 + 8 + 8 * 3 + 3);
  EXPECT_EQ(rows.at(Mode::FP32).parameter_bytes(), parameters);
  EXPECT_EQ(rows.at(Mode::BF16).parameter_bytes(), parameters + 2 * (6 * 8 + 8 * 3)) << "and weights in BF16";
  EXPECT_EQ(rows.at(Mode::BF16).gradient_bytes(), parameters);
  EXPECT_EQ(rows.at(Mode::BF16).optimizer_bytes(), 2 * parameters) << "low precision saves nothing of the moments";
  EXPECT_GT(rows.at(Mode::BF16).activation_bytes(), 0);
}

TEST(PrecisionComparisonTest, WarmUpIsNotTimed) {
  const StudySeen seen =
      RunSmallStudy("precision_comparison { seeds: 1 warm_up_iterations: 4 precisions: FP32 }", "iterations: 4");
  EXPECT_FALSE(RowsOf(seen.report).at(Mode::FP32).has_median_seconds());
  EXPECT_TRUE(
      RowsOf(RunSmallStudy("precision_comparison { seeds: 1 warm_up_iterations: 3 precisions: FP32 }", "iterations: 4")
                 .report)
          .at(Mode::FP32)
          .has_median_seconds());
}

TEST(PrecisionComparisonTest, HeldOutDataIsEvaluatedAtTheEndOfEachRun) {
  const std::string eval = "data { eval { synthetic { samples: 16 shape: 6 classes: 3 seed: 1 } } } ";
  const auto rows = RowsOf(RunSmallStudy(kTwoSeeds, kHidden + eval).report);
  for (const auto& [mode, row] : rows) EXPECT_GT(row.eval_loss(), 0) << Mode::Mode_Name(mode);
  EXPECT_FALSE(RowsOf(RunSmallStudy(kTwoSeeds, kHidden).report).at(Mode::FP32).has_eval_loss());
}

TEST(PrecisionComparisonTest, AStoppedOneCountsWholeSeedsOnly) {
  const StudySeen seen = RunSmallStudy(kTwoSeeds, kHidden, {.stop_after = 8});
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_TRUE(seen.report.partial());
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("1 of 2 seeds are whole")));
  EXPECT_EQ(RowsOf(seen.report).at(Mode::BF16).verdict(), Report::UNDECIDED);
  EXPECT_EQ(CurveOf(seen.report, Mode::FP32, 7).size(), 60u);
  EXPECT_TRUE(CurveOf(seen.report, Mode::FP32, 8).empty());
  const StudySeen nothing = RunSmallStudy(kTwoSeeds, kHidden, {.stop_after = 0});
  EXPECT_TRUE(nothing.report.partial());
  EXPECT_TRUE(nothing.report.has_precision_comparison());
  EXPECT_THAT(nothing.report.finding(), HasSubstr("no seed was done"));
}

// Three precisions of a model of a million parameters take some 60 MB, and half of what is free is 40 MB.
TEST(PrecisionComparisonTest, WhatTheDeviceDoesNotHoldAtOnceIsRunOneAfterAnotherToTheSameNumbers) {
  const std::string wide = "model { mlp { hidden: 1024 hidden: 1024 } } iterations: 50 ";
  const std::string one_seed = "precision_comparison { precisions: [FP32, BF16, FP16] seeds: 1 }";
  const StudySeen together = RunSmallStudy(one_seed, wide);
  const StudySeen apart = RunSmallStudy(one_seed, wide, {.memory_limit_bytes = ResidentMemory() + (80 << 20)});
  ASSERT_TRUE(apart.status.ok()) << apart.status;
  EXPECT_THAT(apart.report.limits(), Contains(HasSubstr("one after another")));
  EXPECT_THAT(together.report.limits(), Not(Contains(HasSubstr("one after another"))));
  EXPECT_EQ(CurveOf(apart.report, Mode::FP16, 0), CurveOf(together.report, Mode::FP16, 0));
  EXPECT_THAT(apart.observer.said.at(1), HasSubstr("FP32, seed 0, iteration 50"));
  EXPECT_THAT(together.observer.said.at(1), HasSubstr("BF16, seed 0, iteration 25"));
}

TEST(PrecisionComparisonTest, CurvesOfLongRunsAreThinnedEvenly) {
  const StudySeen seen = RunSmallStudy("precision_comparison { precisions: FP32 seeds: 1 }", "iterations: 450");
  const auto& curves = seen.report.precision_comparison().curves();
  EXPECT_EQ(curves.size(), 150);
  for (int i = 0; i < curves.size(); ++i) ASSERT_EQ(curves.Get(i).iteration(), 1 + 3 * i);
}

TEST(PrecisionComparisonTest, AVeryLongRunSaysThatNotEveryIterationCounts) {
  const std::string spec = "precision_comparison { precisions: FP32 seeds: 1 }";
  EXPECT_THAT(RunSmallStudy(spec, "iterations: 17000").report.limits(),
              Contains(HasSubstr("evenly spaced iterations")));
  EXPECT_THAT(RunSmallStudy(spec, "iterations: 400").report.limits(),
              Not(Contains(HasSubstr("evenly spaced iterations"))));
}

TEST(PrecisionComparisonTest, AReportOfManySeedsKeepsItsBoundAndItsConclusions) {
  const StudySeen seen = RunSmallStudy("precision_comparison { precisions: [FP32, BF16, FP16, TF32] seeds: 100 }",
                                       "iterations: 200 precision { emulate: true }");
  EXPECT_LE(seen.report.ByteSizeLong(), spec::kMaxReportBytes);
  EXPECT_TRUE(seen.report.partial());
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("of 80000 rows of curves")));
  EXPECT_EQ(seen.report.precision_comparison().precisions_size(), 4);
}

TEST(PrecisionComparisonTest, StoredWeightsAndOverridesAreNotFp32s) {
  const std::string stored =
      std::string(kHidden) + "precision { storage: MASTER_FP32 overrides { match: 'head' compute: BF16 } } ";
  const StudySeen plain = RunSmallStudy(kTwoSeeds, kHidden);
  const StudySeen seen = RunSmallStudy(kTwoSeeds, stored);
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(CurveOf(seen.report, Mode::FP32, 7), CurveOf(plain.report, Mode::FP32, 7));
  EXPECT_NE(CurveOf(seen.report, Mode::FP16, 7), CurveOf(plain.report, Mode::FP16, 7)) << "there it is read";
}

TEST(PrecisionComparisonTest, RunsDoNotBeginFromSomebodyElsesParameters) {
  const StudySeen seen = RunSmallStudy(kTwoSeeds, "init_from { path: 'x.safetensors' }");
  EXPECT_THAT(std::string(seen.status.message()),
              HasSubstr("study.precision_comparison.training.init_from: is given, but"));
}

}  // namespace
}  // namespace mantissa::trainer
