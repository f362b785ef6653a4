#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/small_study.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using Spec = v1::LossScaleSpec;

constexpr char kAll[] = "scaler_study { presets: [TORCH, MEGATRON, DEEPSPEED, APEX, APEX_HYSTERESIS] }";
constexpr char kHidden[] = "model { mlp { hidden: 8 } } iterations: 60 ";

std::map<Spec::Preset, v1::ScalerRow> RowsOf(const v1::Report& report) {
  std::map<Spec::Preset, v1::ScalerRow> rows;
  for (const v1::ScalerRow& row : report.scaler_study().presets()) rows[row.preset()] = row;
  return rows;
}

TEST(ScalerStudyTest, EveryPresetBeginsWhereItsProjectBegins) {
  const StudySeen seen = RunSmallStudy(kAll, kHidden);
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const auto rows = RowsOf(seen.report);
  ASSERT_EQ(rows.size(), 5u);
  EXPECT_EQ(rows.at(Spec::TORCH).first_scale(), 0x1p16);
  EXPECT_EQ(rows.at(Spec::MEGATRON).first_scale(), 0x1p32);
  // 2^32 is far too much: with a hysteresis of 2 it comes down skip by skip.
  EXPECT_GT(rows.at(Spec::MEGATRON).skipped_iterations(), 10);
  EXPECT_LT(rows.at(Spec::MEGATRON).last_scale(), 0x1p22);
  EXPECT_EQ(rows.at(Spec::MEGATRON).max_scale(), 0x1p32);
  EXPECT_EQ(rows.at(Spec::MEGATRON).min_scale(), rows.at(Spec::MEGATRON).last_scale());
  EXPECT_GT(rows.at(Spec::MEGATRON).calibration_iterations(), 10);
  EXPECT_EQ(rows.at(Spec::TORCH).calibration_iterations(), rows.at(Spec::TORCH).skipped_iterations());
  EXPECT_THAT(seen.report.finding(), HasSubstr("MEGATRON the most"));
  EXPECT_EQ(seen.observer.done, seen.observer.total);
}

TEST(ScalerStudyTest, PointsFollowTheScaleFromItsFirstValue) {
  const StudySeen seen = RunSmallStudy("scaler_study { presets: MEGATRON }", kHidden);
  const v1::ScalerStudyReport& report = seen.report.scaler_study();
  ASSERT_GT(report.scales_size(), 5);
  EXPECT_EQ(report.scales(0).iteration(), 1);
  EXPECT_EQ(report.scales(0).loss_scale(), 0x1p32);
  EXPECT_EQ(report.scales(1).loss_scale(), 0x1p31);
  EXPECT_EQ(report.scales(1).iteration(), 3) << "the first overflow spends the hysteresis, the second lowers the scale";
  EXPECT_EQ(report.scales(report.scales_size() - 1).loss_scale(), report.presets(0).last_scale());
}

TEST(ScalerStudyTest, PresetsDifferInNothingButTheirRules) {
  const auto rows = RowsOf(RunSmallStudy("scaler_study { presets: [TORCH, APEX] }", kHidden).report);
  EXPECT_EQ(rows.at(Spec::TORCH).loss(), rows.at(Spec::APEX).loss()) << "as long as their rules say the same";
  EXPECT_EQ(rows.at(Spec::TORCH).skipped_iterations(), rows.at(Spec::APEX).skipped_iterations());
}

TEST(ScalerStudyTest, TheSpecsOwnScaleIsNotRead) {
  const std::string own = std::string(kHidden) + "precision { loss_scale { init: 8 growth_interval: 2 } }";
  const auto rows = RowsOf(RunSmallStudy("scaler_study { presets: TORCH }", own).report);
  EXPECT_EQ(rows.at(Spec::TORCH).first_scale(), 0x1p16);
}

TEST(ScalerStudyTest, ARunThatIsShorterThanAGrowthIntervalSaysSo) {
  const auto rows = RowsOf(RunSmallStudy("scaler_study { presets: [TORCH, DEEPSPEED] }", kHidden).report);
  EXPECT_THAT(rows.at(Spec::TORCH).note(), HasSubstr("shorter than its growth interval, 2000"));
  EXPECT_THAT(rows.at(Spec::DEEPSPEED).note(), HasSubstr("1000"));
  const auto longer = RowsOf(RunSmallStudy("scaler_study { presets: DEEPSPEED }", "iterations: 1010").report);
  EXPECT_EQ(longer.at(Spec::DEEPSPEED).note(), "");
  EXPECT_GT(longer.at(Spec::DEEPSPEED).last_scale(), longer.at(Spec::DEEPSPEED).min_scale());
}

TEST(ScalerStudyTest, ATrainingThatNoScaleHelpsEndsEveryPresetWithAReason) {
  // Features beyond FP16 make the loss itself infinite.
  const StudySeen seen = RunSmallStudy("scaler_study { presets: [TORCH, DEEPSPEED] }",
                                       "optimizer { sgd { learning_rate: 1e30 momentum: 0 } } max_grad_norm: 0 "
                                       "iterations: 200 model { mlp { hidden: 8 } }");
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  for (const auto& [preset, row] : RowsOf(seen.report)) {
    EXPECT_THAT(row.note(), HasSubstr("failed: ")) << Spec::Preset_Name(preset);
    EXPECT_LT(row.iterations(), 200);
    EXPECT_FALSE(row.has_loss());
  }
  EXPECT_THAT(seen.report.finding(), HasSubstr("Failed before the end: TORCH, DEEPSPEED."));
}

TEST(ScalerStudyTest, HeldOutDataIsEvaluated) {
  const std::string eval = "data { eval { synthetic { samples: 16 shape: 6 classes: 3 seed: 1 } } } ";
  EXPECT_GT(RowsOf(RunSmallStudy("scaler_study { presets: TORCH }", kHidden + eval).report).at(Spec::TORCH).eval_loss(),
            0);
}

TEST(ScalerStudyTest, WithoutFp16ThereIsNothingToStudy) {
  const StudySeen seen = RunSmallStudy(kAll, kHidden, {.precisions = {v1::PrecisionSpec::FP32}});
  EXPECT_TRUE(absl::IsFailedPrecondition(seen.status)) << seen.status;
  EXPECT_THAT(std::string(seen.status.message()), HasSubstr("no arithmetic for FP16"));
}

TEST(ScalerStudyTest, AStoppedOneKeepsThePresetsThatAreWhole) {
  const StudySeen seen = RunSmallStudy(kAll, kHidden, {.stop_after = 3});
  EXPECT_TRUE(seen.report.partial());
  EXPECT_EQ(seen.report.scaler_study().presets_size(), 1);
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("1 of 5 presets are whole")));
  const StudySeen nothing = RunSmallStudy(kAll, kHidden, {.stop_after = 0});
  EXPECT_TRUE(nothing.report.partial());
  EXPECT_TRUE(nothing.report.has_scaler_study());
}

TEST(ScalerStudyTest, ItSaysTheSameInEveryRun) {
  const std::string first = ComparableText(RunSmallStudy(kAll, kHidden).report);
  EXPECT_EQ(ComparableText(RunSmallStudy(kAll, kHidden).report), first);
  EXPECT_NE(ComparableText(RunSmallStudy(kAll, std::string(kHidden) + "seed: 3").report), first);
}

}  // namespace
}  // namespace mantissa::trainer
