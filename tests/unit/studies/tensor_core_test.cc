#include "worker/studies/machine/tensor_core.h"

#include <chrono>

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
using Precision = v1::PrecisionSpec;

// Products of 1 GFLOP on a device of 2 TFLOPS.
v1::TensorCoreReport Rows(const std::string& rows, const CallSeconds& calls = {}) {
  auto report = From<v1::TensorCoreReport>(rows + " peaks { precision: FP16 tflops: 2 }");
  for (v1::TensorCoreRow& row : *report.mutable_products()) {
    row.set_m(1000);
    row.set_n(1000);
    row.set_k(500);
    row.set_precision(Precision::FP16);
  }
  CompleteTensorCores(calls, report);
  return report;
}

TEST(AlignmentTest, DimensionsFillRowsOfSixteenBytes) {
  EXPECT_EQ(AlignmentOf(Precision::FP16), 8);
  EXPECT_EQ(AlignmentOf(Precision::BF16), 8);
  EXPECT_EQ(AlignmentOf(Precision::TF32), 4);
  EXPECT_EQ(AlignmentOf(Precision::FP32), 4);
}

TEST(AlignmentTest, EveryDimensionIsRoundedUpToTheNextMultiple) {
  const auto shape = From<v1::MatrixShape>("m: 1 n: 16 k: 17");
  const v1::MatrixShape half = AlignedShape(shape, Precision::FP16);
  EXPECT_EQ(half.m(), 8);
  EXPECT_EQ(half.n(), 16);
  EXPECT_EQ(half.k(), 24);
  const v1::MatrixShape full = AlignedShape(shape, Precision::FP32);
  EXPECT_EQ(full.m(), 4);
  EXPECT_EQ(full.k(), 20);
}

TEST(TensorCoreRowsTest, GainAndShareComeFromTheTimes) {
  const v1::TensorCoreReport report = Rows("products { median_seconds: 1e-3 padded_seconds: 0.8e-3 }");
  EXPECT_DOUBLE_EQ(report.products(0).tflops(), 1);
  EXPECT_DOUBLE_EQ(report.products(0).peak_share(), 0.5);
  EXPECT_DOUBLE_EQ(report.products(0).padding_gain(), 1.25);
}

TEST(TensorCoreRowsTest, AnAlignedProductHasNoGainAndAFasterOneIsThePeak) {
  const v1::TensorCoreReport report =
      Rows("products { aligned: true median_seconds: 0.25e-3 } products { median_seconds: 0.5e-3 }");
  EXPECT_FALSE(report.products(0).has_padding_gain());
  EXPECT_DOUBLE_EQ(report.peaks(0).tflops(), 4);
  EXPECT_DOUBLE_EQ(report.products(0).peak_share(), 1);
  EXPECT_DOUBLE_EQ(report.products(1).peak_share(), 0.5);
}

TEST(TensorCoreRowsTest, RowsThatMeasureLaunchesSaySoAndFindNothing) {
  const v1::TensorCoreReport report = Rows("products { median_seconds: 4e-6 padded_seconds: 1e-6 }");
  EXPECT_THAT(report.products(0).note(), HasSubstr("below 5 us"));
  EXPECT_FALSE(report.products(0).has_tflops() || report.products(0).has_padding_gain());
  EXPECT_FALSE(report.products(0).has_peak_share());
  EXPECT_THAT(TensorCoreFinding(report, true), HasSubstr("Every row measures launches"));
}

TEST(TensorCoreRowsTest, RowsThatMeasureLaunchesAreLeftOutOfWhatIsSaidOfTheOthers) {
  const v1::TensorCoreReport report = Rows(
      "products { median_seconds: 90e-6 padded_seconds: 30e-6 } products { median_seconds: 1e-3 padded_seconds: 2e-3 }",
      {{Precision::FP16, 48e-6}});
  EXPECT_THAT(report.products(0).note(), HasSubstr("below 96 us"));
  EXPECT_THAT(TensorCoreFinding(report, true),
              AllOf(HasSubstr("does not pay in any of 1 unaligned products"), HasSubstr("at best 0.50")));
}

TEST(TensorCoreRowsTest, TheFarthestFromItsPeakHasTheSmallestShareOfIt) {
  const v1::TensorCoreReport report = Rows(
      "products { aligned: true median_seconds: 1e-3 } products { median_seconds: 0.7 padded_seconds: 0.68 }"
      "products { aligned: true median_seconds: 2e-3 }");
  EXPECT_THAT(TensorCoreFinding(report, true),
              AllOf(HasSubstr("which is not aligned: 0.0714 % of it"), HasSubstr("Padding does not pay")))
      << "a share is not rounded to 0, and a gain of 1.03 is noise";
}

TEST(TensorCoreRowsTest, TheFindingFollowsTheRows) {
  EXPECT_THAT(TensorCoreFinding(Rows("products { median_seconds: 1e-3 padded_seconds: 0.5e-3 } "
                                     "products { median_seconds: 1e-3 padded_seconds: 2e-3 }"),
                                true),
              AllOf(HasSubstr("Padding pays in 1 of 2 unaligned products"), HasSubstr("up to 2.00 times as fast"),
                    HasSubstr("not aligned: 50 % of it"), Not(HasSubstr("CPU"))));
  EXPECT_THAT(TensorCoreFinding(Rows("products { median_seconds: 1e-3 padded_seconds: 1.25e-3 }"), true),
              HasSubstr("Padding does not pay in any of 1 unaligned products, its copies included: at best 0.80"));
  EXPECT_THAT(TensorCoreFinding(Rows("products { aligned: true median_seconds: 1e-3 }"), false),
              AllOf(HasSubstr("nothing can be said of padding"), HasSubstr("which is aligned: 50 %"),
                    HasSubstr("of no tensor core")));
  EXPECT_EQ(TensorCoreFinding(Rows("products { note: 'UNSUPPORTED' }"), true),
            "Nothing could be timed: the rows say why.");
}

TEST(TensorCoreTest, OnlyWhatIsNotAlignedIsPadded) {
  StudyPlace place;
  FakeObserver observer;
  const CallsThenProducts clock(observer, std::chrono::microseconds(300), std::chrono::milliseconds(1));
  place.clock = &clock;
  v1::Report report;
  const auto spec = From<v1::TensorCore>(
      "shapes { m: 16 n: 24 k: 32 } shapes { m: 15 n: 23 k: 31 } shapes { m: 12 n: 12 k: 12 } "
      "precisions: [FP32, BF16, TF32] rounds: 3");
  ASSERT_TRUE(RunTensorCore(spec, place.environment(), observer, report).ok());
  const v1::TensorCoreReport& result = report.tensor_core();
  ASSERT_EQ(result.products_size(), 9);
  for (const v1::TensorCoreRow& row : result.products()) {
    SCOPED_TRACE(row.ShortDebugString());
    // Multiples of 4, and not of 8.
    const bool aligned = row.m() == 16 || (row.m() == 12 && row.precision() != Precision::BF16);
    EXPECT_EQ(row.aligned(), aligned);
    const bool timed = row.precision() != Precision::TF32;
    EXPECT_EQ(row.has_median_seconds(), timed);
    EXPECT_EQ(row.has_peak_share(), timed);
    EXPECT_EQ(row.has_padding_gain(), timed && !aligned);
    EXPECT_THAT(row.note(), Not(HasSubstr("WRONG")));
  }
  EXPECT_THAT(report.limits(), AllOf(testing::Contains(HasSubstr("A CPU has no tensor cores")),
                                     testing::Contains(HasSubstr("the trainer's own linear op"))));
  EXPECT_EQ(report.finding(), TensorCoreFinding(result, false));
  EXPECT_EQ(observer.total, 10);
  EXPECT_EQ(observer.done, 10);
}

TEST(TensorCoreTest, RowsOfFewerRoundsOrWithoutRoomSaySo) {
  const TickingClock slow(std::chrono::seconds(10));
  StudyPlace place;
  place.clock = &slow;
  FakeObserver observer;
  v1::Report few, none;
  const auto spec = From<v1::TensorCore>("shapes { m: 9 n: 9 k: 9 } precisions: FP32 rounds: 20");
  ASSERT_TRUE(RunTensorCore(spec, place.environment(), observer, few).ok());
  EXPECT_THAT(few.tensor_core().products(0).note(), HasSubstr("of 3 rounds"));
  place.memory_limit_bytes = 1;
  FakeObserver again;
  ASSERT_TRUE(RunTensorCore(spec, place.environment(), again, none).ok());
  EXPECT_FALSE(none.tensor_core().products(0).has_median_seconds());
  EXPECT_THAT(none.tensor_core().products(0).note(), HasSubstr("not run: it takes about"));
}

TEST(TensorCoreTest, AStoppedStudyKeepsWhatItHas) {
  const StudyPlace place;
  FakeObserver observer(2);
  v1::Report report;
  const auto spec = From<v1::TensorCore>("shapes { m: 15 n: 16 k: 16 } precisions: [FP32, FP16] rounds: 3");
  ASSERT_TRUE(RunTensorCore(spec, place.environment(), observer, report).ok());
  EXPECT_TRUE(report.partial());
  EXPECT_EQ(report.tensor_core().products_size(), 1);
  EXPECT_THAT(report.limits(), testing::Contains(HasSubstr("stopped after 1 of 2")));
}

}  // namespace
}  // namespace mantissa::trainer
