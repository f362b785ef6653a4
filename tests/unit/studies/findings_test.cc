// Every sentence of a finding is there because of rows, and gone with them.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/study_place.h"
#include "worker/studies/report/format_finding.h"
#include "worker/studies/report/gradient_finding.h"
#include "worker/studies/report/number_text.h"
#include "worker/studies/report/scaler_finding.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(FindingsTest, NumbersReadAsPeopleWriteThem) {
  EXPECT_EQ(PercentText(0.125), "12.5 %");
  EXPECT_EQ(PercentText(0), "0 %");
  EXPECT_EQ(PercentText(0.0000123), "0.00123 %");
  EXPECT_EQ(ScaleText(16384), "2^14");
  EXPECT_EQ(ScaleText(1), "2^0");
  EXPECT_EQ(ScaleText(1000), "1000");
  EXPECT_EQ(TimeText(36.21e-6), "36.2 us");
  EXPECT_EQ(TimeText(1.18e-3), "1.18 ms");
  EXPECT_EQ(TimeText(0.99949e-3), "999 us");
  EXPECT_EQ(TimeText(0.9996e-3), "1 ms") << "and not 1e+03 us";
  EXPECT_EQ(TimeText(0.9996), "1 s");
  EXPECT_EQ(CountText(1, "run"), "1 run");
  EXPECT_EQ(CountText(0, "run"), "0 runs");
}

constexpr char kGradients[] =
    "parameters { parameter: 'a' elements: 100 exact_zero_share: 0.5 median_log2: -10 max_log2: -5 flushed_share: 0.2 "
    "} "
    "parameters { parameter: 'b' elements: 50 median_log2: -12 max_log2: -6 } "
    "scales { loss_scale: 1 flushed_share: 0.1 } scales { loss_scale: 1024 best: true } ";

TEST(FindingsTest, GradientsSayWhatIsLostAndWhichScaleIsBest) {
  const std::string finding = GradientFinding(From<v1::GradientAnalysisReport>(kGradients), 4);
  EXPECT_THAT(finding, AllOf(HasSubstr("gradients of 4 iterations"), HasSubstr("FP16 loses 10 % without scaling"),
                             HasSubstr("The best loss scale is 2^10: with it 0 % are lost"),
                             Not(HasSubstr("Trained in FP16")), Not(HasSubstr("override"))));
}

TEST(FindingsTest, AScaleThatIsTooHighIsFoundInTheGridAndInTheCheck) {
  const std::string grid = GradientFinding(
      From<v1::GradientAnalysisReport>("parameters { parameter: 'a' elements: 1 max_log2: 1 } scales { "
                                       "loss_scale: 4194304 skipped_share: 0.75 overflow_share: 0.1 best: true }"),
      4);
  EXPECT_THAT(grid, HasSubstr("No scale of the grid is safe: even 2^22 would skip 75 % of the iterations."));
  const std::string checked = GradientFinding(
      From<v1::GradientAnalysisReport>(
          std::string(kGradients) + "checks { loss: 0.5 } checks { loss_scale: 1024 skipped_iterations: 3 loss: 0.7 }"
                                    "checks { loss_scale: 2048 skipped_iterations: 9 }"),
      4);
  EXPECT_THAT(checked,
              AllOf(HasSubstr("3 iterations were skipped and the loss came to 0.7, FP32's to 0.5"),
                    HasSubstr("take a smaller scale"), HasSubstr("Too high: 2^10 skipped 3, 2^11 skipped 9.")));
  const std::string good = GradientFinding(
      From<v1::GradientAnalysisReport>(std::string(kGradients) + "checks { loss_scale: 1024 loss: 0.7 }"), 4);
  EXPECT_THAT(good, AllOf(HasSubstr("0 iterations were skipped."), Not(HasSubstr("take a smaller scale")),
                          Not(HasSubstr("Too high"))));
}

TEST(FindingsTest, WhereTheGridHasNoSafeScaleTheSampleIsNotBlamed) {
  const std::string finding = GradientFinding(
      From<v1::GradientAnalysisReport>("parameters { parameter: 'a' elements: 1 max_log2: 1 } scales { "
                                       "loss_scale: 4194304 skipped_share: 0.75 overflow_share: 0.1 best: true } "
                                       "checks { loss: 0.5 } checks { loss_scale: 4194304 skipped_iterations: 30 }"),
      4);
  EXPECT_THAT(finding, AllOf(HasSubstr("30 iterations were skipped. Take a smaller scale"),
                             Not(HasSubstr("did not show the largest gradients"))));
}

TEST(FindingsTest, AScaleWithoutAFactorOfTwoToSpareSaysSo) {
  const std::string parameters = "parameters { parameter: 'a' elements: 1 max_log2: 1 } ";
  const std::string best = parameters + "scales { loss_scale: 16384 best: true } scales { loss_scale: 32768 ";
  const std::string tight = GradientFinding(From<v1::GradientAnalysisReport>(best + "overflow_share: 0.1 }"), 4);
  EXPECT_THAT(tight, HasSubstr("no iteration that was seen overflows, but with twice that some would"));
  EXPECT_THAT(
      GradientFinding(From<v1::GradientAnalysisReport>(best + "} scales { loss_scale: 65536 overflow_share: 1 }"), 4),
      HasSubstr("no iteration that was seen overflows."));
}

TEST(FindingsTest, WhatFp32SkipsNoScaleIsBlamedFor) {
  const std::string skipping =
      GradientFinding(From<v1::GradientAnalysisReport>(
                          std::string(kGradients) +
                          "checks { skipped_iterations: 2 loss: 0.5 } checks { loss_scale: 1024 "
                          "skipped_iterations: 2 loss: 0.7 } checks { loss_scale: 2048 skipped_iterations: 3 }"),
                      4);
  EXPECT_THAT(skipping, AllOf(HasSubstr("2 iterations were skipped (2 in FP32, too) and the loss came to 0.7"),
                              Not(HasSubstr("take a smaller scale")), HasSubstr("Too high: 2^11 skipped 3.")));
}

TEST(FindingsTest, AParameterThatLiesFarFromTheOthersIsNamed) {
  const std::string finding =
      GradientFinding(From<v1::GradientAnalysisReport>(
                          std::string(kGradients) +
                          "parameters { parameter: 'head.weight' elements: 1 median_log2: -30 max_log2: -29 }"),
                      4);
  EXPECT_THAT(finding, AllOf(HasSubstr("candidates for an override: head.weight (2^-30)."), Not(HasSubstr("a (2^"))));
}

TEST(FindingsTest, OfManyParametersThatLieApartThreeAreNamedAndOneWithoutGradientsIsNot) {
  std::string rows = kGradients;
  for (int i = 0; i < 7; ++i) rows += "parameters { parameter: 'near' elements: 1 median_log2: -11 max_log2: -6 } ";
  rows += "parameters { parameter: 'unused' elements: 9 exact_zero_share: 1 } ";
  for (const char* name : {"w", "x", "y", "z"}) {
    rows += std::string("parameters { parameter: '") + name + "' elements: 1 median_log2: -40 max_log2: -39 } ";
  }
  EXPECT_THAT(GradientFinding(From<v1::GradientAnalysisReport>(rows), 4),
              AllOf(HasSubstr("override: w (2^-40), x (2^-40), y (2^-40) and 1 more."), Not(HasSubstr("unused"))));
}

TEST(FindingsTest, GradientsThatAreAllZeroHaveNoScale) {
  EXPECT_THAT(
      GradientFinding(From<v1::GradientAnalysisReport>(
                          "parameters { parameter: 'a' elements: 3 exact_zero_share: 1 } scales { best: true }"),
                      1),
      HasSubstr("there is nothing to scale"));
  EXPECT_THAT(GradientFinding({}, 0), HasSubstr("stopped before gradients were sampled"));
}

TEST(FindingsTest, ScalersAreToldApartByWhatTheySkipped) {
  const std::string finding =
      ScalerFinding(From<v1::ScalerStudyReport>(
                        "presets { preset: TORCH iterations: 50 skipped_iterations: 2 calibration_iterations: "
                        "3 loss: 0.5 } presets { preset: MEGATRON iterations: 50 skipped_iterations: 20 loss: "
                        "0.9 } presets { preset: DEEPSPEED iterations: 7 skipped_iterations: 7 }"),
                    50);
  EXPECT_THAT(finding, AllOf(HasSubstr("TORCH skipped the fewest iterations, 2; MEGATRON the most, 20."),
                             HasSubstr("Not settled by the end: MEGATRON, DEEPSPEED."),
                             HasSubstr("Failed before the end: DEEPSPEED."),
                             HasSubstr("between 0.5 (TORCH) and 0.9 (MEGATRON)")));
}

TEST(FindingsTest, AScalerThatFailedEarlySkippedNoFewerThanTheOthers) {
  const std::string failed = "presets { preset: DEEPSPEED iterations: 7 skipped_iterations: 1 } ";
  EXPECT_THAT(ScalerFinding(
                  From<v1::ScalerStudyReport>(failed + "presets { preset: TORCH iterations: 50 skipped_iterations: 2 } "
                                                       "presets { preset: APEX iterations: 50 skipped_iterations: 3 }"),
                  50),
              AllOf(HasSubstr("TORCH skipped the fewest iterations, 2; APEX the most, 3."),
                    HasSubstr("Failed before the end: DEEPSPEED.")));
  EXPECT_THAT(
      ScalerFinding(
          From<v1::ScalerStudyReport>(failed + "presets { preset: TORCH iterations: 50 skipped_iterations: 2 }"), 50),
      HasSubstr("The preset that reached the end skipped 2 iterations."));
  EXPECT_THAT(ScalerFinding(From<v1::ScalerStudyReport>(failed), 50), HasSubstr("No preset reached the end."));
}

TEST(FindingsTest, NoneOfTheScalersWithTheSameLossIsTheBest) {
  const std::string same =
      "presets { preset: TORCH iterations: 9 loss: 0.12741 } presets { preset: APEX iterations: 9 "
      "loss: 0.12742 } presets { preset: DEEPSPEED iterations: 7 } ";
  EXPECT_THAT(ScalerFinding(From<v1::ScalerStudyReport>(same), 9), HasSubstr(" Each loss came to 0.1274."));
  EXPECT_THAT(
      ScalerFinding(From<v1::ScalerStudyReport>(same + "presets { preset: MEGATRON iterations: 9 loss: 0.9 }"), 9),
      HasSubstr("Losses came to between 0.1274 (TORCH, APEX) and 0.9 (MEGATRON)."));
}

TEST(FindingsTest, ScalersThatDidTheSameAreNotToldApart) {
  const std::string finding =
      ScalerFinding(From<v1::ScalerStudyReport>(
                        "presets { preset: TORCH iterations: 9 skipped_iterations: 1 calibration_iterations: 1 }"
                        "presets { preset: APEX iterations: 9 skipped_iterations: 1 calibration_iterations: 1 }"),
                    9);
  EXPECT_THAT(finding, AllOf(HasSubstr("All presets skipped 1 iteration."), HasSubstr("of each had settled"),
                             Not(HasSubstr("Failed")), Not(HasSubstr("Losses"))));
  EXPECT_THAT(ScalerFinding({}, 9), HasSubstr("stopped before a run was whole"));
}

constexpr char kFormats[] =
    "formats { format: FP16 decades: 12 smallest_subnormal: 6e-8 largest: 65504 } "
    "formats { format: BF16 decades: 79 smallest_subnormal: 9e-41 largest: 3e38 } ";

TEST(FindingsTest, FormatsSayTheirRangeAndWhatTheyLose) {
  const std::string finding =
      FormatFinding(From<v1::FormatTableReport>(
                        std::string(kFormats) +
                        "values { format: FP16 outcome: UNDERFLOW } values { format: FP16 outcome: OVERFLOW } "
                        "values { format: BF16 outcome: ROUNDED } values { format: BF16 outcome: EXACT } "
                        "gradients { format: FP16 underflow_share: 0.25 scaled_underflow_share: 0.01 "
                        "scaled_overflow_share: 0.125 } gradients { format: BF16 }"),
                    10, 65536);
  EXPECT_THAT(finding,
              AllOf(HasSubstr("widest range is that of BF16 (79 decades"), HasSubstr("narrowest that of FP16"),
                    HasSubstr("1 and 1 in FP16."), HasSubstr("gradients that are not 0, after 10 iterations"),
                    HasSubstr("FP16 25 %, times 2^16 1 % (and 12.5 % beyond it)"), HasSubstr("None do in BF16.")));
}

TEST(FindingsTest, TheRangeOfOneFormatIsComparedWithNone) {
  EXPECT_THAT(FormatFinding(From<v1::FormatTableReport>(
                                "formats { format: FP16 decades: 12.04 smallest_subnormal: 6e-8 largest: 65504 }"),
                            0, 65536),
              HasSubstr("The only range is that of FP16 (12 decades, 6e-08 to 65504)."));
}

TEST(FindingsTest, WhatOnlyTheScaleSendsBeyondTheRangeIsNoFormatThatLosesNothing) {
  const std::string finding = FormatFinding(
      From<v1::FormatTableReport>(std::string(kFormats) +
                                  "gradients { format: FP16 scaled_overflow_share: 0.125 } gradients { format: BF16 }"),
      10, 65536);
  EXPECT_THAT(finding,
              AllOf(HasSubstr("FP16 0 %, times 2^16 0 % (and 12.5 % beyond it)."), HasSubstr("None do in BF16.")));
}

TEST(FindingsTest, FormatsThatLoseNothingSayThat) {
  EXPECT_THAT(
      FormatFinding(From<v1::FormatTableReport>(std::string(kFormats) +
                                                "values { format: FP16 outcome: EXACT } gradients { format: FP16 }"),
                    10, 65536),
      AllOf(HasSubstr("within the range of every format"), HasSubstr("no format loses any")));
  EXPECT_THAT(FormatFinding(From<v1::FormatTableReport>(kFormats), 0, 65536),
              AllOf(Not(HasSubstr("values")), Not(HasSubstr("gradients"))));
}

}  // namespace
}  // namespace mantissa::trainer
