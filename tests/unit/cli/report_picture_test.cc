// What of a report is drawn.
#include "client/cli/report/report_picture.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/plot/png_plot.h"
#include "tests/unit/cli/sample_reports.h"

namespace mantissa::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

v1::Job SomeJob() {
  v1::Job job;
  job.set_name("some");
  job.set_state(v1::Job::SUCCEEDED);
  return job;
}

TEST(ReportPicture, EveryPrecisionHasAPanelOnOneAxis) {
  v1::Report report = ReportFrom("precision_comparison {}");
  for (const auto& [precision, seed, iteration, loss] :
       {std::tuple(v1::PrecisionSpec::FP32, 0, 1, 2.0), std::tuple(v1::PrecisionSpec::FP32, 1, 1, 4.0),
        std::tuple(v1::PrecisionSpec::FP32, 0, 9, 1.0), std::tuple(v1::PrecisionSpec::FP32, 1, 9, std::nan("")),
        std::tuple(v1::PrecisionSpec::BF16, 0, 1, 3.0)}) {
    v1::LossCurvePoint& point = *report.mutable_precision_comparison()->add_curves();
    point.set_precision(precision);
    point.set_seed(static_cast<std::uint64_t>(seed));
    point.set_iteration(iteration);
    point.set_loss(loss);
  }
  const Picture picture = PictureOf(SomeJob(), report).value();
  ASSERT_THAT(picture.panels, SizeIs(2));
  const Panel& fp32 = picture.panels[0];
  EXPECT_EQ(fp32.title, "FP32 loss");
  ASSERT_THAT(fp32.strokes, SizeIs(2));
  EXPECT_EQ(fp32.strokes[0].low, 2);
  EXPECT_EQ(fp32.strokes[0].high, 4);
  EXPECT_EQ(fp32.strokes[0].last, 3);
  EXPECT_TRUE(fp32.strokes[1].joined);
  ASSERT_THAT(fp32.marks, SizeIs(1));
  EXPECT_EQ(fp32.marks[0].iteration, 9);
  EXPECT_EQ(picture.panels[1].title, "BF16 loss");
  EXPECT_EQ(picture.panels[1].axis.to, fp32.axis.to) << "they are to be compared";
}

TEST(ReportPicture, GradientsStandByPowersOfTwo) {
  v1::Report report = ReportFrom("gradient_analysis {}");
  for (int parameter = 0; parameter < 8; ++parameter) {
    v1::GradientBin& bin = *report.mutable_gradient_analysis()->add_histogram();
    bin.set_parameter(absl::StrCat("layers.", parameter));
    bin.set_exponent(-30 + parameter);
    bin.set_elements(100 + parameter);
  }
  const Picture picture = PictureOf(SomeJob(), report).value();
  EXPECT_EQ(picture.across, "power of two");
  ASSERT_THAT(picture.panels, SizeIs(6)) << "all, and the five largest";
  EXPECT_THAT(picture.panels[0].strokes, SizeIs(8));
  EXPECT_EQ(picture.panels[1].title, "layers.7");
  EXPECT_EQ(picture.panels[1].strokes[0].high, 107);
  EXPECT_LE(picture.iterations.from, -30);
  EXPECT_THAT(DrawPng(picture, 1280, 960).value(), HasSubstr("PNG"));
}

TEST(ReportPicture, AScaleStaysUntilItChanges) {
  const v1::Report report = ReportFrom(R"pb(
    scaler_study {
      presets { preset: TORCH iterations: 50 skipped_iterations: 2 }
      scales { preset: TORCH iteration: 1 loss_scale: 65536 }
      scales { preset: TORCH iteration: 10 loss_scale: 32768 }
      scales { preset: APEX iteration: 1 loss_scale: 0 }
    })pb");
  const Picture picture = PictureOf(SomeJob(), report).value();
  ASSERT_THAT(picture.panels, SizeIs(1)) << "a scale of 0 can't be drawn";
  const std::vector<Stroke>& strokes = picture.panels[0].strokes;
  ASSERT_THAT(strokes, SizeIs(5));
  EXPECT_EQ(strokes[1].iteration, 10);
  EXPECT_EQ(strokes[1].last, 65536);
  EXPECT_EQ(strokes[2].last, 32768);
  EXPECT_EQ(strokes[4].iteration, 50);
  EXPECT_EQ(strokes[4].last, 32768);
}

TEST(ReportPicture, WithoutPointsThereIsNone) {
  for (const char* text : {"precision_comparison {}", "gradient_analysis {}", "scaler_study {}", ""}) {
    EXPECT_EQ(PictureOf(SomeJob(), ReportFrom(text)).status().code(), absl::StatusCode::kFailedPrecondition) << text;
  }
}

}  // namespace
}  // namespace mantissa::cli
