#include "worker/studies/machine/layout_benchmark.h"

#include <chrono>
#include <utility>

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/study_place.h"
#include "tests/unit/studies/worked_clock.h"
#include "tests/unit/trainer/ticking_clock.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Report = v1::LayoutBenchmarkReport;

// A product of 1000 x 1000 x 500 in FP32 (1 GFLOP, 8 MB), in three layouts; the device does 1 TFLOPS and 10 GB/s, so
// that arithmetic alone takes 1 ms and memory 0.8 ms.
Report Times(double contiguous, double transposed, double strided, const CallSeconds& calls = {}) {
  Report report = From<Report>("peaks { precision: FP32 tflops: 1 bytes_per_second: 1e10 }");
  const std::pair<Report::Layout, double> rows[] = {
      {Report::CONTIGUOUS, contiguous}, {Report::TRANSPOSED, transposed}, {Report::STRIDED, strided}};
  for (const auto& [layout, seconds] : rows) {
    v1::LayoutRow& row = *report.add_layouts();
    row.set_m(1000);
    row.set_n(1000);
    row.set_k(500);
    row.set_precision(v1::PrecisionSpec::FP32);
    row.set_layout(layout);
    if (seconds > 0) row.set_median_seconds(seconds);
  }
  CompleteLayouts(calls, report);
  return report;
}

TEST(LayoutsTest, SlowdownIsAgainstTheContiguousRowOfTheSameProduct) {
  const Report report = Times(2e-3, 2e-3, 5e-3);
  EXPECT_DOUBLE_EQ(report.layouts(0).slowdown(), 1);
  EXPECT_DOUBLE_EQ(report.layouts(2).slowdown(), 2.5);
  EXPECT_DOUBLE_EQ(report.layouts(2).tflops(), 0.2);
  EXPECT_FALSE(Times(0, 2e-3, 2e-3).layouts(1).has_slowdown());
}

TEST(LayoutsTest, ARowOfAnotherProductOrPrecisionIsNoReference) {
  Report report = From<Report>(
      "layouts { m: 8 n: 8 k: 8 precision: FP32 layout: CONTIGUOUS median_seconds: 1 } "
      "layouts { m: 8 n: 8 k: 8 precision: BF16 layout: STRIDED median_seconds: 2 } "
      "layouts { m: 8 n: 8 k: 9 precision: FP32 layout: STRIDED median_seconds: 2 }");
  CompleteLayouts({}, report);
  EXPECT_FALSE(report.layouts(1).has_slowdown());
  EXPECT_FALSE(report.layouts(2).has_slowdown());
}

TEST(LayoutsTest, TheRooflineIsArithmeticOrMemoryWhicheverIsLonger) {
  EXPECT_DOUBLE_EQ(Times(2e-3, 2e-3, 2e-3).layouts(0).roofline_share(), 0.5);
  Report slow_memory = From<Report>(
      "layouts { m: 1000 n: 1000 k: 500 precision: FP32 layout: CONTIGUOUS median_seconds: 16e-3 } "
      "peaks { precision: FP32 tflops: 1 bytes_per_second: 1e9 }");
  CompleteLayouts({}, slow_memory);
  EXPECT_DOUBLE_EQ(slow_memory.layouts(0).roofline_share(), 0.5);
}

TEST(LayoutsTest, NoShareIsAboveOne) {
  // Faster than the peak: that is the new one.
  const Report faster = Times(0.5e-3, 1e-3, 1e-3);
  EXPECT_DOUBLE_EQ(faster.peaks(0).tflops(), 2);
  EXPECT_DOUBLE_EQ(faster.layouts(0).roofline_share(), 1);
  EXPECT_THAT(faster.layouts(0).note(), HasSubstr("cache"));
  // Faster than the copy: memory is not what bounds it.
  EXPECT_DOUBLE_EQ(faster.layouts(1).roofline_share(), 0.8);
  EXPECT_EQ(faster.layouts(1).note(), "");
}

TEST(LayoutsTest, RowsThatMeasureLaunchesSaySoAndNothingElse) {
  const Report report = Times(4e-6, 6e-6, 6e-6);
  EXPECT_THAT(report.layouts(0).note(), HasSubstr("below 5 us: this measures the call or launch"));
  EXPECT_FALSE(report.layouts(0).has_tflops() || report.layouts(0).has_slowdown());
  EXPECT_FALSE(report.layouts(0).has_roofline_share());
  EXPECT_THAT(report.layouts(1).note(), Not(HasSubstr("launch")));
  EXPECT_TRUE(report.layouts(1).has_tflops() && report.layouts(1).has_roofline_share());
  EXPECT_FALSE(report.layouts(1).has_slowdown()) << "what it is held to is a launch";
}

// The seed times (16, 64, 64), and does not see that it measures launches. How long one takes, the machine says.
TEST(LayoutsTest, WhatALaunchTakesIsTheMachinesOwn) {
  const CallSeconds calls = {{v1::PrecisionSpec::FP32, 48e-6}};
  const Report report = Times(71e-6, 77e-6, 97e-6, calls);
  EXPECT_THAT(report.layouts(1).note(), HasSubstr("below 96 us"));
  EXPECT_FALSE(report.layouts(1).has_tflops());
  EXPECT_TRUE(report.layouts(2).has_tflops()) << "more than two launches take";
  EXPECT_THAT(LayoutFinding(report), HasSubstr("Of 3 rows, 2 measure launches"));
  EXPECT_TRUE(Times(71e-6, 77e-6, 97e-6, {{v1::PrecisionSpec::BF16, 48e-6}}).layouts(0).has_tflops())
      << "of another precision's";
  EXPECT_FALSE(Times(4e-6, 4e-6, 4e-6, {{v1::PrecisionSpec::FP32, 1e-6}}).layouts(0).has_tflops())
      << "five microseconds in any case";
}

TEST(LayoutsTest, RowsThatWereDisturbedSaySo) {
  Report report = Times(2e-3, 2e-3, 2e-3);
  report.mutable_layouts(0)->set_p95_seconds(5e-3);
  report.mutable_layouts(1)->set_p95_seconds(7e-3);
  CompleteLayouts({}, report);
  EXPECT_EQ(report.layouts(0).note(), "");
  EXPECT_THAT(report.layouts(1).note(), HasSubstr("something else may have run"));
  EXPECT_THAT(LayoutFinding(report), HasSubstr("In 1 of 3 rows times differ widely."));
}

TEST(LayoutsTest, TheFindingFollowsTheRows) {
  EXPECT_THAT(
      LayoutFinding(Times(2e-3, 2.1e-3, 6e-3)),
      AllOf(HasSubstr("TRANSPOSED costs nothing here: at most 1.05"),
            HasSubstr("STRIDED takes up to 3.00 times the contiguous time for (1000, 500) x (500, 1000) in FP32"),
            HasSubstr("50 % of its roofline")));
  EXPECT_THAT(LayoutFinding(Times(2e-3, 3e-3, 1e-3)),
              AllOf(HasSubstr("TRANSPOSED takes up to 1.50"), HasSubstr("STRIDED costs nothing here: at most 0.50")));
}

TEST(LayoutsTest, TheFindingTellsLaunchesAndFailuresFromLayouts) {
  EXPECT_THAT(LayoutFinding(Times(1e-6, 2e-6, 4e-6)),
              AllOf(HasSubstr("Every row measures launches"), Not(HasSubstr("contiguous time"))));
  EXPECT_THAT(LayoutFinding(Times(4e-6, 4e-6, 8e-6)), HasSubstr("Of 3 rows, 2 measure launches"));
  EXPECT_THAT(LayoutFinding(Times(4e-6, 4e-6, 8e-6)), HasSubstr("TRANSPOSED was not told apart from a call"));
  EXPECT_THAT(LayoutFinding(Times(4e-6, 4e-6, 8e-6)),
              HasSubstr("100 % of its roofline, for (1000, 500) x (500, 1000) in FP32, STRIDED"));
  Report no_peak = From<Report>("layouts { m: 99 n: 99 k: 99 precision: FP32 layout: CONTIGUOUS median_seconds: 1 }");
  CompleteLayouts({}, no_peak);
  EXPECT_THAT(LayoutFinding(no_peak), Not(HasSubstr("roofline"))) << "there is none";
  EXPECT_EQ(LayoutFinding(Times(0, 0, 0)), "Nothing could be timed: the rows say why.");
  Report wrong = Times(2e-3, 2e-3, 0);
  wrong.mutable_layouts(2)->set_note("WRONG: off");
  EXPECT_THAT(LayoutFinding(wrong), HasSubstr("Wrong, and not timed: 1 row."));
}

TEST(LayoutBenchmarkTest, EveryPrecisionAndLayoutIsARowWithATimeOrAReason) {
  StudyPlace place;
  place.precisions = {v1::PrecisionSpec::FP32, v1::PrecisionSpec::FP16};
  FakeObserver observer;
  const CallsThenProducts clock(observer, std::chrono::microseconds(300), std::chrono::milliseconds(1));
  place.clock = &clock;
  v1::Report report;
  const auto spec =
      From<v1::LayoutBenchmark>("shapes { m: 16 n: 24 k: 32 } precisions: [FP32, FP16, BF16, TF32] rounds: 3");
  ASSERT_TRUE(RunLayoutBenchmark(spec, place.environment(), observer, report).ok());
  const Report& result = report.layout_benchmark();
  ASSERT_EQ(result.layouts_size(), 4 * 3);
  for (const v1::LayoutRow& row : result.layouts()) {
    SCOPED_TRACE(row.ShortDebugString());
    EXPECT_EQ(row.m(), 16);
    EXPECT_EQ(row.n(), 24);
    EXPECT_EQ(row.k(), 32);
    const bool has = row.precision() == v1::PrecisionSpec::FP32 || row.precision() == v1::PrecisionSpec::FP16;
    EXPECT_EQ(row.has_median_seconds(), has);
    EXPECT_EQ(row.has_slowdown(), has);
    EXPECT_EQ(row.has_roofline_share(), has);
    EXPECT_LE(row.roofline_share(), 1);
    EXPECT_THAT(row.note(), HasSubstr(has ? "" : "UNSUPPORTED"));
  }
  EXPECT_EQ(result.peaks_size(), 4);
  EXPECT_THAT(report.limits(), testing::Contains(HasSubstr("the trainer's own linear op")));
  EXPECT_FALSE(report.partial());
  EXPECT_EQ(report.finding(), LayoutFinding(result));
  EXPECT_THAT(observer.said,
              testing::ElementsAre("peaks of the device", "(16, 32) x (32, 24) in FP32", "(16, 32) x (32, 24) in FP16",
                                   "(16, 32) x (32, 24) in BF16", "(16, 32) x (32, 24) in TF32"));
  EXPECT_EQ(observer.total, 5);
}

TEST(LayoutBenchmarkTest, ProductsThatTakeNoLongerThanACallAreNotCompared) {
  StudyPlace place;
  FakeObserver observer;
  const CallsThenProducts clock(observer, std::chrono::microseconds(300), std::chrono::microseconds(500));
  place.clock = &clock;
  v1::Report report;
  const auto spec = From<v1::LayoutBenchmark>("shapes { m: 16 n: 24 k: 32 } precisions: [FP32, FP16] rounds: 3");
  ASSERT_TRUE(RunLayoutBenchmark(spec, place.environment(), observer, report).ok());
  for (const v1::LayoutRow& row : report.layout_benchmark().layouts()) {
    EXPECT_THAT(row.note(), HasSubstr("below 600 us: this measures the call or launch"));
    EXPECT_FALSE(row.has_slowdown());
  }
  EXPECT_THAT(report.finding(), HasSubstr("Every row measures launches"));
}

TEST(LayoutBenchmarkTest, AShapeThatDoesNotFitIsARowThatSaysSo) {
  StudyPlace place;
  FakeObserver observer;
  v1::Report report;
  const auto spec = From<v1::LayoutBenchmark>(
      "shapes { m: 65536 n: 65536 k: 65536 } shapes { m: 8 n: 8 k: 8 } precisions: FP32 rounds: 3");
  place.memory_limit_bytes = std::int64_t{8} << 30;
  ASSERT_TRUE(RunLayoutBenchmark(spec, place.environment(), observer, report).ok());
  ASSERT_EQ(report.layout_benchmark().layouts_size(), 6);
  EXPECT_THAT(report.layout_benchmark().layouts(0).note(), HasSubstr("not run: it takes about"));
  EXPECT_TRUE(report.layout_benchmark().layouts(3).has_median_seconds());
}

TEST(LayoutBenchmarkTest, RowsOfFewerRoundsSaySo) {
  // Every look at it is ten seconds later.
  const TickingClock slow(std::chrono::seconds(10));
  StudyPlace place;
  place.clock = &slow;
  FakeObserver observer;
  v1::Report report;
  const auto spec = From<v1::LayoutBenchmark>("shapes { m: 8 n: 8 k: 8 } precisions: FP32 rounds: 20");
  ASSERT_TRUE(RunLayoutBenchmark(spec, place.environment(), observer, report).ok());
  for (const v1::LayoutRow& row : report.layout_benchmark().layouts()) {
    EXPECT_DOUBLE_EQ(row.median_seconds(), 10);
    EXPECT_THAT(row.note(), HasSubstr("of 3 rounds: more would take too long"));
  }
}

TEST(LayoutBenchmarkTest, AStoppedStudyKeepsWhatItHas) {
  const StudyPlace place;
  FakeObserver observer(2);  // the peaks, and one product
  v1::Report report;
  const auto spec = From<v1::LayoutBenchmark>("shapes { m: 16 n: 16 k: 16 } precisions: [FP32, FP16, BF16] rounds: 3");
  ASSERT_TRUE(RunLayoutBenchmark(spec, place.environment(), observer, report).ok());
  EXPECT_TRUE(report.partial());
  EXPECT_EQ(report.layout_benchmark().layouts_size(), 3);
  EXPECT_THAT(report.limits(), testing::Contains(HasSubstr("stopped after 1 of 3")));
}

TEST(LayoutBenchmarkTest, HowALowProductIsMadeIsSaidOnlyWhereOneIs) {
  StudyPlace place;
  place.precisions = {v1::PrecisionSpec::FP32};
  FakeObserver observer;
  v1::Report report;
  const auto spec = From<v1::LayoutBenchmark>("shapes { m: 8 n: 8 k: 8 } precisions: [FP32, BF16] rounds: 3");
  ASSERT_TRUE(RunLayoutBenchmark(spec, place.environment(), observer, report).ok());
  EXPECT_THAT(report.limits(), Not(testing::Contains(HasSubstr("linear op"))));
}

TEST(LayoutBenchmarkTest, WithoutShapesItHasItsOwn) {
  const StudyPlace place;
  FakeObserver observer(1);
  v1::Report report;
  ASSERT_TRUE(RunLayoutBenchmark({}, place.environment(), observer, report).ok());
  EXPECT_EQ(observer.total, 3 * 3 + 1);
}

}  // namespace
}  // namespace mantissa::trainer
