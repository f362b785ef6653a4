#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/small_study.h"
#include "worker/studies/magnitude_counts.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kSmall[] = "gradient_analysis { every_iterations: 10 min_exponent: 0 max_exponent: 24 check: true }";
constexpr char kHidden[] = "model { mlp { hidden: 8 } } iterations: 40 ";

const v1::ScaleCandidate& BestOf(const v1::GradientAnalysisReport& report) {
  for (const v1::ScaleCandidate& candidate : report.scales()) {
    if (candidate.best()) return candidate;
  }
  ADD_FAILURE() << "no scale is the best";
  return report.scales(0);
}

// Iterations 1, 11, 21 and 31 of an ordinary run in FP32, element by element.
TEST(GradientAnalysisTest, CountsAreOfTheElementsOfTheSampledIterations) {
  const StudySeen seen = RunSmallStudy(kSmall, kHidden);
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  SmallRun run(kHidden);
  std::map<std::string, MagnitudeCounts> counts;
  double largest = 0;
  const ParameterBuffer& parameters = run.state().model().parameters();
  for (const std::int64_t iteration : {1, 11, 21, 31}) {
    run.TrainTo(iteration);
    for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
      const at::Tensor view = parameters.ViewOf(parameters.gradients(), i).detach().contiguous();
      counts[parameters.parameters()[i].shape.path].Add(
          std::span<const float>(view.const_data_ptr<float>(), static_cast<std::size_t>(view.numel())));
      largest = std::max(largest, view.abs().max().item<double>());
    }
  }
  const v1::GradientAnalysisReport& report = seen.report.gradient_analysis();
  ASSERT_EQ(report.parameters_size(), 4);
  for (const v1::ParameterGradients& row : report.parameters()) {
    const MagnitudeCounts& expected = counts.at(row.parameter());
    EXPECT_EQ(row.elements(), expected.elements()) << row.parameter();
    EXPECT_DOUBLE_EQ(row.max_log2(), std::log2(double{expected.max()})) << row.parameter();
    EXPECT_EQ(row.nonfinite_elements(), 0);
    std::int64_t in_bins = 0;
    for (const v1::GradientBin& bin : report.histogram()) {
      if (bin.parameter() != row.parameter()) continue;
      EXPECT_EQ(bin.elements(), expected.In(bin.exponent()));
      EXPECT_GT(bin.elements(), 0);
      in_bins += bin.elements();
    }
    EXPECT_EQ(in_bins, expected.counted());
  }
  EXPECT_EQ(report.scales_size(), 25);
  EXPECT_LT(2 * report.best_loss_scale() * largest, 65520);
  EXPECT_GE(4 * report.best_loss_scale() * largest, 65520) << "and none that is larger would be safe";
  EXPECT_EQ(BestOf(report).loss_scale(), report.best_loss_scale());
}

TEST(GradientAnalysisTest, TheBestScaleIsTrainedWithAndSkipsNothing) {
  const StudySeen seen = RunSmallStudy(kSmall, kHidden);
  const v1::GradientAnalysisReport& report = seen.report.gradient_analysis();
  ASSERT_EQ(report.checks_size(), 6);
  EXPECT_EQ(report.checks(0).loss_scale(), 0) << "the run in FP32";
  EXPECT_TRUE(report.checks(0).has_loss());
  for (int i = 1; i < 6; ++i) {
    EXPECT_EQ(report.checks(i).loss_scale(), std::ldexp(report.best_loss_scale(), i - 3));
  }
  const v1::ScaleCheck& best = report.checks(3);
  EXPECT_EQ(best.skipped_iterations(), 0);
  EXPECT_NEAR(best.loss(), report.checks(0).loss(), 0.05);
  EXPECT_EQ(seen.observer.done, seen.observer.total);
  EXPECT_FALSE(seen.report.partial());
}

// A grid whose every scale is too high for gradients of about 0.1.
TEST(GradientAnalysisTest, AScaleThatIsTooHighIsFoundAndItsCheckShowsIt) {
  const StudySeen seen = RunSmallStudy(
      "gradient_analysis { every_iterations: 10 min_exponent: 21 max_exponent: 24 check: true }", kHidden);
  const v1::GradientAnalysisReport& report = seen.report.gradient_analysis();
  EXPECT_EQ(report.best_loss_scale(), std::ldexp(1.0, 21));
  EXPECT_GT(BestOf(report).skipped_share(), 0);
  EXPECT_THAT(seen.report.finding(), HasSubstr("No scale of the grid is safe: even 2^21 would skip"));
  ASSERT_EQ(report.checks_size(), 4) << "nothing below the grid is tried";
  const v1::ScaleCheck& highest = report.checks(3);
  EXPECT_EQ(highest.loss_scale(), std::ldexp(1.0, 23));
  EXPECT_GT(highest.skipped_iterations(), 0);
  EXPECT_THAT(seen.report.finding(), HasSubstr("Too high: "));
  EXPECT_EQ(seen.observer.done, seen.observer.total);
}

TEST(GradientAnalysisTest, AScaleStaysFixedAndDoesNotComeDown) {
  const StudySeen seen = RunSmallStudy(
      "gradient_analysis { every_iterations: 100 min_exponent: 23 max_exponent: 24 check: true }", kHidden);
  const v1::GradientAnalysisReport& report = seen.report.gradient_analysis();
  ASSERT_GE(report.checks_size(), 3);
  // A dynamic scale would be down after a handful of skips.
  EXPECT_EQ(report.checks(2).skipped_iterations(), 40);
  EXPECT_FALSE(report.checks(2).has_loss()) << "nothing was learned";
}

TEST(GradientAnalysisTest, WithoutTheCheckNothingIsTrainedInFp16) {
  const StudySeen seen =
      RunSmallStudy("gradient_analysis { every_iterations: 5 max_exponent: 24 check: false }", kHidden);
  EXPECT_EQ(seen.report.gradient_analysis().checks_size(), 0);
  EXPECT_EQ(seen.observer.done, seen.observer.total);
  const StudySeen lacking = RunSmallStudy("gradient_analysis { every_iterations: 5 max_exponent: 24 check: false }",
                                          kHidden, {.precisions = {v1::PrecisionSpec::FP32}});
  EXPECT_THAT(lacking.report.limits(), Not(Contains(HasSubstr("The scales were not tried")))) << "nobody asked";
}

// The seed divides by a median of 0.
TEST(GradientAnalysisTest, AModelWithoutGradientsIsAReportWithoutNumbersThatAreNone) {
  const StudySeen seen = RunSmallStudy(
      kSmall, "model { sequential { layers { linear {} } layers { scale { factor: 0 } } } } iterations: 4");
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const v1::GradientAnalysisReport& report = seen.report.gradient_analysis();
  ASSERT_EQ(report.parameters_size(), 2);
  for (const v1::ParameterGradients& row : report.parameters()) {
    EXPECT_EQ(row.exact_zero_share(), 1) << row.parameter();
    EXPECT_FALSE(row.has_median_log2());
    EXPECT_EQ(row.flushed_share(), 0);
    EXPECT_EQ(row.scaled_overflow_share(), 0);
  }
  EXPECT_GE(report.best_loss_scale(), 1);
  EXPECT_THAT(seen.report.finding(), HasSubstr("there is nothing to scale"));
}

// Plain layers, so many that gradients vanish on the way: a bias's is the smaller the farther it lies from the loss.
TEST(GradientAnalysisTest, OfManyParametersTheHistogramIsOfThoseThatLoseTheMost) {
  std::string layers;
  for (int i = 0; i < 65; ++i) layers += "layers { linear { out: 4 } } ";
  const StudySeen seen = RunSmallStudy("gradient_analysis { every_iterations: 1 max_exponent: 24 check: false }",
                                       "model { sequential { " + layers + "layers { linear {} } } } iterations: 1");
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const v1::GradientAnalysisReport& report = seen.report.gradient_analysis();
  ASSERT_EQ(report.parameters_size(), 132);
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("of the 128 of 132 parameters that lose the most")));
  std::set<std::string> told;
  for (const v1::GradientBin& bin : report.histogram()) told.insert(bin.parameter());
  double least_told = 1;
  double most_left_out = 0;
  for (const v1::ParameterGradients& row : report.parameters()) {
    if (!row.has_median_log2()) continue;
    double& end = told.contains(row.parameter()) ? least_told : most_left_out;
    end = told.contains(row.parameter()) ? std::min(end, row.flushed_share()) : std::max(end, row.flushed_share());
  }
  EXPECT_EQ(told.size(), 128U);
  EXPECT_LE(most_left_out, least_told);
  EXPECT_GT(report.parameters(0).flushed_share(), report.parameters(131).flushed_share()) << "they do differ";
  EXPECT_THAT(RunSmallStudy(kSmall, kHidden).report.limits(), Not(Contains(HasSubstr("The histogram is of"))));
}

TEST(GradientAnalysisTest, WithoutFp16TheScalesAreNotTriedAndThatIsSaid) {
  const StudySeen seen = RunSmallStudy(kSmall, kHidden, {.precisions = {v1::PrecisionSpec::FP32}});
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(seen.report.gradient_analysis().checks_size(), 0);
  EXPECT_EQ(seen.report.gradient_analysis().scales_size(), 25);
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("cpu has no arithmetic for FP16")));
}

TEST(GradientAnalysisTest, GradientsThatAreNotFiniteInFp32AreCountedApartAndNoScaleIsBlamed) {
  const StudySeen seen = RunSmallStudy(kSmall,
                                       "optimizer { sgd { learning_rate: 1e30 momentum: 0 } } max_grad_norm: 0 "
                                       "iterations: 200 model { mlp { hidden: 8 } }");
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const v1::GradientAnalysisReport& report = seen.report.gradient_analysis();
  EXPECT_GT(report.parameters(0).nonfinite_elements(), 0);
  EXPECT_TRUE(std::isfinite(report.parameters(0).flushed_share()));
  EXPECT_GT(BestOf(report).skipped_share(), 0);
  EXPECT_EQ(BestOf(report).overflow_share(), 0);
  EXPECT_THAT(seen.report.finding(), Not(HasSubstr("No scale of the grid is safe")));
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("The run in FP32 failed: one iteration after another")));
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("not finite in FP32 already")));
  EXPECT_FALSE(seen.report.partial()) << "nobody stopped it";
  EXPECT_EQ(seen.observer.done, seen.observer.total);
}

TEST(GradientAnalysisTest, ItSaysTheSameInEveryRun) {
  const std::string first = ComparableText(RunSmallStudy(kSmall, kHidden).report);
  EXPECT_EQ(ComparableText(RunSmallStudy(kSmall, kHidden).report), first);
  EXPECT_NE(ComparableText(RunSmallStudy(kSmall, std::string(kHidden) + "seed: 3").report), first);
}

TEST(GradientAnalysisTest, AStoppedOneKeepsWhatItHas) {
  const StudySeen early = RunSmallStudy(kSmall, kHidden, {.stop_after = 0});
  EXPECT_TRUE(early.report.partial());
  EXPECT_TRUE(early.report.has_gradient_analysis());
  EXPECT_THAT(early.report.finding(), HasSubstr("stopped before gradients were sampled"));
  const StudySeen late = RunSmallStudy(kSmall, kHidden, {.stop_after = 2});
  EXPECT_TRUE(late.report.partial());
  EXPECT_EQ(late.report.gradient_analysis().scales_size(), 25);
  EXPECT_EQ(late.report.gradient_analysis().checks_size(), 2) << "FP32 and one scale";
}

}  // namespace
}  // namespace mantissa::trainer
