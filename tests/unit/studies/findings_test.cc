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
  EXPECT_THAT(grid, HasSubstr("No scale of the grid is safe: even 2^22 would skip 75 %"));
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
  EXPECT_THAT(good, AllOf(HasSubstr("0 iterations were skipped"), Not(HasSubstr("take a smaller scale")),
                          Not(HasSubstr("Too high"))));
}

TEST(FindingsTest, AParameterThatLiesFarFromTheOthersIsNamed) {
  const std::string finding =
      GradientFinding(From<v1::GradientAnalysisReport>(
                          std::string(kGradients) +
                          "parameters { parameter: 'head.weight' elements: 1 median_log2: -30 max_log2: -29 }"),
                      4);
  EXPECT_THAT(finding, AllOf(HasSubstr("candidates for an override: head.weight (2^-30)."), Not(HasSubstr("a (2^"))));
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
