#include <cmath>
#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/small_study.h"
#include "worker/studies/loss_scale_search.h"
#include "worker/studies/number_format.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Format = v1::NumberFormat;

constexpr char kSmall[] =
    "format_table { formats: [FP32, FP16, BF16, FP8_E4M3, INT8] values: [1e-8, 0.1, 1e5, -inf, nan] "
    "iterations: 3 loss_scale: 65536 }";

std::map<Format::Code, v1::FormatGradients> GradientsOf(const v1::Report& report) {
  std::map<Format::Code, v1::FormatGradients> rows;
  for (const v1::FormatGradients& row : report.format_table().gradients()) rows[row.format()] = row;
  return rows;
}

TEST(FormatTableTest, EveryFormatAndEveryValueHasItsRow) {
  const StudySeen seen = RunSmallStudy(kSmall);
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const v1::FormatTableReport& table = seen.report.format_table();
  ASSERT_EQ(table.formats_size(), 5);
  EXPECT_EQ(table.formats(1).format(), Format::FP16);
  EXPECT_EQ(table.formats(1).smallest_subnormal(), 0x1p-24);
  EXPECT_EQ(table.formats(4).largest(), 1e5) << "INT8's steps are set by the largest finite value";
  ASSERT_EQ(table.values_size(), 25);
  EXPECT_EQ(table.values(5).format(), Format::FP16);
  EXPECT_EQ(table.values(5).outcome(), v1::RoundedValue::UNDERFLOW);
  EXPECT_EQ(table.values(7).outcome(), v1::RoundedValue::OVERFLOW);
  EXPECT_EQ(table.values(8).outcome(), v1::RoundedValue::EXACT) << "FP16 has Inf";
  EXPECT_EQ(table.values(18).outcome(), v1::RoundedValue::OUT_OF_RANGE) << "E4M3 has none";
  EXPECT_TRUE(std::isnan(table.values(9).rounded()));
  EXPECT_EQ(seen.report.device(), "cpu");
  EXPECT_FALSE(seen.report.torch_version().empty());
  EXPECT_GT(seen.report.elapsed().seconds() + seen.report.elapsed().nanos(), 0);
  EXPECT_THAT(seen.report.limits(), AllOf(Contains(HasSubstr("The steps of INT8 are set for each parameter")),
                                          Not(Contains(HasSubstr("not finite in FP32")))));
  EXPECT_FALSE(seen.report.partial());
  EXPECT_EQ(seen.observer.done, seen.observer.total);
}

// The gradients of the very iteration, rounded here one by one, are what the table has counted.
TEST(FormatTableTest, GradientsAreTheModelsOwnAfterTheIterationsThatWereAskedFor) {
  const auto rows = GradientsOf(RunSmallStudy(kSmall, "model { mlp { hidden: 5 } }").report);
  ASSERT_EQ(rows.size(), 5u);
  SmallRun run("model { mlp { hidden: 5 } }");
  run.TrainTo(4);
  MagnitudeCounts counts;
  const ParameterBuffer& parameters = run.state().model().parameters();
  for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
    const at::Tensor view = parameters.ViewOf(parameters.gradients(), i).detach().contiguous();
    counts.Add(std::span<const float>(view.const_data_ptr<float>(), static_cast<std::size_t>(view.numel())));
  }
  const v1::FormatGradients& half = rows.at(Format::FP16);
  EXPECT_EQ(half.elements(), counts.elements());
  EXPECT_DOUBLE_EQ(half.exact_zero_share(),
                   static_cast<double>(counts.zeros()) / static_cast<double>(counts.elements()));
  // Counted another way, by gradient_analysis: both tell the same.
  const LostShares plain = SharesAt(counts, 0);
  const LostShares scaled = SharesAt(counts, 16);
  EXPECT_DOUBLE_EQ(half.underflow_share(), plain.flushed);
  EXPECT_DOUBLE_EQ(half.subnormal_share(), plain.subnormal);
  EXPECT_DOUBLE_EQ(half.overflow_share(), plain.overflowed);
  EXPECT_DOUBLE_EQ(half.scaled_underflow_share(), scaled.flushed);
  EXPECT_DOUBLE_EQ(half.scaled_subnormal_share(), scaled.subnormal);
  EXPECT_DOUBLE_EQ(half.scaled_overflow_share(), scaled.overflowed);
  EXPECT_EQ(rows.at(Format::FP32).underflow_share(), 0);
  EXPECT_GT(rows.at(Format::FP8_E4M3).scaled_overflow_share(), 0) << "beyond 448 is out of range, too";
}

// The layer reads activations of about 1e-8, so that FP16 has no numbers for the gradients of its weights.
TEST(FormatTableTest, SmallGradientsUnderflowInFp16AndAScaleBringsThemBack) {
  const auto rows = GradientsOf(
      RunSmallStudy(kSmall, "model { sequential { layers { scale { factor: 1e-8 } } layers { linear {} } } }").report);
  const v1::FormatGradients& half = rows.at(Format::FP16);
  const v1::FormatGradients& brain = rows.at(Format::BF16);
  EXPECT_GT(half.underflow_share(), half.scaled_underflow_share());
  EXPECT_GT(half.underflow_share(), brain.underflow_share());
}

// Steps of 1e30 leave weights whose loss is not finite.
constexpr char kDiverging[] =
    "model { mlp { hidden: 8 } } optimizer { sgd { learning_rate: 1e30 momentum: 0 } } max_grad_norm: 0 ";

TEST(FormatTableTest, GradientsThatAreNotFiniteInFp32AreInNoShare) {
  const StudySeen seen = RunSmallStudy("format_table { formats: FP16 iterations: 3 loss_scale: 65536 }", kDiverging);
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  const v1::FormatGradients& half = GradientsOf(seen.report).at(Format::FP16);
  EXPECT_LT(half.overflow_share(), 1) << "Inf is no gradient that FP16 loses";
  EXPECT_TRUE(std::isfinite(half.underflow_share()));
  EXPECT_THAT(seen.report.limits(),
              AllOf(Contains(HasSubstr("elements of the gradients are not finite in FP32 already")),
                    Not(Contains(HasSubstr("INT8")))));
}

TEST(FormatTableTest, ARunThatFailsLeavesNoGradientsAndSaysWhy) {
  const StudySeen seen =
      RunSmallStudy("format_table { formats: [FP16, BF16] iterations: 200 loss_scale: 65536 }", kDiverging);
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(seen.report.format_table().gradients_size(), 0);
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("There are no gradients: the run failed, one iteration after")));
  EXPECT_FALSE(seen.report.partial()) << "nobody stopped it";
  EXPECT_EQ(seen.observer.done, seen.observer.total);
}

TEST(FormatTableTest, WithoutIterationsThereAreNoGradients) {
  const StudySeen seen = RunSmallStudy("format_table { formats: FP16 values: 1 iterations: 0 }");
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(seen.report.format_table().gradients_size(), 0);
  EXPECT_EQ(seen.report.format_table().values_size(), 1);
  EXPECT_EQ(seen.observer.done, 1);
  EXPECT_EQ(seen.observer.total, 1);
}

TEST(FormatTableTest, AStoppedOneKeepsWhatItHasAndSaysSo) {
  const StudySeen seen = RunSmallStudy(kSmall, "", {.stop_after = 2});
  ASSERT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_TRUE(seen.report.partial());
  EXPECT_EQ(seen.report.format_table().formats_size(), 5);
  EXPECT_EQ(seen.report.format_table().gradients_size(), 1);
  EXPECT_THAT(seen.report.limits(), Contains(HasSubstr("into 1 of 5 formats")));
  const StudySeen early = RunSmallStudy(kSmall, "", {.stop_after = 0});
  EXPECT_TRUE(early.report.partial());
  EXPECT_THAT(early.report.limits(), Not(Contains(HasSubstr("the run failed")))) << "it was stopped";
}

TEST(FormatTableTest, DataThatDoesNotFitNamesItsFieldWithinTheStudy) {
  const StudySeen seen = RunSmallStudy(kSmall, "", {.memory_limit_bytes = 1});
  EXPECT_TRUE(absl::IsResourceExhausted(seen.status)) << seen.status;
  EXPECT_THAT(std::string(seen.status.message()),
              HasSubstr("study.format_table.training.data.train.synthetic.samples"));
  EXPECT_EQ(seen.observer.total, 0);
}

}  // namespace
}  // namespace mantissa::trainer
