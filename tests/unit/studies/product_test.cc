#include "worker/studies/machine/product.h"

#include <cmath>
#include <limits>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/studies/study_place.h"
#include "worker/studies/machine/device_peaks.h"
#include "worker/studies/machine/product_study.h"

namespace mantissa::trainer {
namespace {

using ::testing::HasSubstr;
using ::testing::Optional;
using Layout = v1::LayoutBenchmarkReport;
using Precision = v1::PrecisionSpec;

constexpr Layout::Layout kLayouts[] = {Layout::CONTIGUOUS, Layout::TRANSPOSED, Layout::STRIDED};
constexpr Precision::Mode kModes[] = {Precision::FP32, Precision::FP16, Precision::BF16};

TEST(ProductTest, EveryLayoutHoldsTheSameSecondOperandInTheRightShape) {
  const v1::MatrixShape shape = ShapeOf(5, 3, 7);
  const Operands plain = MakeOperands(shape, Precision::FP32, Layout::CONTIGUOUS, at::kCPU);
  for (const Layout::Layout layout : kLayouts) {
    const Operands operands = MakeOperands(shape, Precision::FP32, layout, at::kCPU);
    EXPECT_EQ(operands.b.sizes(), at::IntArrayRef({7, 3})) << Layout::Layout_Name(layout);
    EXPECT_TRUE(operands.b.equal(plain.b)) << Layout::Layout_Name(layout);
    EXPECT_TRUE(operands.a.equal(plain.a));
  }
}

TEST(ProductTest, LayoutsAreWhatTheyAreCalled) {
  const v1::MatrixShape shape = ShapeOf(5, 3, 7);
  const auto strides = [&](Layout::Layout layout) {
    return MakeOperands(shape, Precision::BF16, layout, at::kCPU).b.strides().vec();
  };
  EXPECT_THAT(strides(Layout::CONTIGUOUS), testing::ElementsAre(3, 1));
  EXPECT_THAT(strides(Layout::TRANSPOSED), testing::ElementsAre(1, 7));
  EXPECT_THAT(strides(Layout::STRIDED), testing::ElementsAre(6, 2));
}

TEST(ProductTest, OperandsAreInTheModesFormat) {
  const auto type = [](Precision::Mode mode) {
    return MakeOperands(ShapeOf(2, 2, 2), mode, Layout::CONTIGUOUS, at::kCPU).b.scalar_type();
  };
  EXPECT_EQ(type(Precision::FP32), at::kFloat);
  EXPECT_EQ(type(Precision::TF32), at::kFloat);
  EXPECT_EQ(type(Precision::FP16), at::kHalf);
  EXPECT_EQ(type(Precision::BF16), at::kBFloat16);
}

TEST(ProductTest, EveryModeAndLayoutGivesTheProduct) {
  for (const v1::MatrixShape& shape : {ShapeOf(1, 1, 1), ShapeOf(17, 33, 65), ShapeOf(300, 40, 128)}) {
    for (const Precision::Mode mode : kModes) {
      for (const Layout::Layout layout : kLayouts) {
        const Operands operands = MakeOperands(shape, mode, layout, at::kCPU);
        const at::Tensor product = Multiply(mode, operands);
        EXPECT_EQ(product.scalar_type(), operands.a.scalar_type());
        EXPECT_EQ(ProductError(mode, operands, product), std::nullopt)
            << Precision::Mode_Name(mode) << " " << Layout::Layout_Name(layout);
      }
    }
  }
}

TEST(ProductTest, AProductWithTheWrongOperandIsNotTakenForOne) {
  // The square is what hides a transposition in the shapes.
  const Operands operands = MakeOperands(ShapeOf(64, 64, 64), Precision::BF16, Layout::CONTIGUOUS, at::kCPU);
  const at::Tensor transposed = Multiply(Precision::BF16, {operands.a, operands.b.t()});
  EXPECT_THAT(ProductError(Precision::BF16, operands, transposed), Optional(HasSubstr("off by")));
}

TEST(ProductTest, AProductOfAnotherShapeIsNotTakenForOne) {
  const Operands operands = MakeOperands(ShapeOf(4, 6, 8), Precision::FP32, Layout::CONTIGUOUS, at::kCPU);
  EXPECT_THAT(ProductError(Precision::FP32, operands, at::zeros({6, 4})), Optional(HasSubstr("another shape")));
  EXPECT_THAT(ProductError(Precision::FP32, operands, at::zeros({4})), Optional(HasSubstr("another shape")));
}

TEST(ProductTest, OneWrongElementOrANanIsFound) {
  const Operands operands = MakeOperands(ShapeOf(8, 8, 8), Precision::FP32, Layout::CONTIGUOUS, at::kCPU);
  for (const double wrong : {1e-3, std::numeric_limits<double>::quiet_NaN()}) {
    const at::Tensor product = Multiply(Precision::FP32, operands);
    product[3][5] += wrong;
    EXPECT_NE(ProductError(Precision::FP32, operands, product), std::nullopt) << wrong;
  }
}

TEST(ProductTest, OfALargeProductTheLastRowAndColumnAreLookedAtToo) {
  const Operands operands = MakeOperands(ShapeOf(600, 700, 16), Precision::FP32, Layout::STRIDED, at::kCPU);
  const at::Tensor product = Multiply(Precision::FP32, operands);
  EXPECT_EQ(ProductError(Precision::FP32, operands, product), std::nullopt);
  product[599][699] += 1;
  EXPECT_NE(ProductError(Precision::FP32, operands, product), std::nullopt);
}

TEST(ProductTest, APrecisionThatIsRoundedTooOftenIsFound) {
  const Operands operands = MakeOperands(ShapeOf(64, 64, 64), Precision::FP32, Layout::CONTIGUOUS, at::kCPU);
  const at::Tensor rounded = Multiply(Precision::FP32, operands).to(at::kBFloat16).to(at::kFloat);
  EXPECT_NE(ProductError(Precision::FP32, operands, rounded), std::nullopt);
  EXPECT_EQ(ProductError(Precision::BF16, operands, rounded), std::nullopt);
}

TEST(ProductTest, ACpuHasNoTf32AndADeviceOnlyWhatItSays) {
  StudyPlace place;
  EXPECT_THAT(WhyNoProduct(place.environment(), Precision::TF32), Optional(HasSubstr("UNSUPPORTED: cpu")));
  EXPECT_EQ(WhyNoProduct(place.environment(), Precision::BF16), std::nullopt);
  place.precisions = {Precision::FP32, Precision::FP16};
  EXPECT_EQ(WhyNoProduct(place.environment(), Precision::FP16), std::nullopt);
  EXPECT_THAT(WhyNoProduct(place.environment(), Precision::BF16), Optional(HasSubstr("BF16")));
}

TEST(ProductTest, CountsOperationsAndBytes) {
  EXPECT_EQ(OperationsOf(2, 3, 4), 48);
  EXPECT_EQ(BytesMoved(2, 3, 4, Precision::FP32), (8 + 12 + 6) * 4);
  EXPECT_EQ(BytesMoved(2, 3, 4, Precision::TF32), (8 + 12 + 6) * 4);
  EXPECT_EQ(BytesMoved(2, 3, 4, Precision::FP16), (8 + 12 + 6) * 2);
  EXPECT_DOUBLE_EQ(TflopsOf(1000, 1000, 500, 1e-3), 1);
}

TEST(ProductTest, WhatDoesNotFitIsNotRun) {
  StudyPlace place;
  EXPECT_EQ(WhyNoRoom(1, place.environment()), std::nullopt);
  EXPECT_THAT(WhyNoRoom(1e18, place.environment()), Optional(HasSubstr("free on cpu")));
}

TEST(DevicePeaksTest, PeaksAreMeasuredForTheModesThatTheDeviceHas) {
  const StudyPlace place;
  FakeObserver observer;
  const auto peaks = MeasurePeaks(place.environment(), {Precision::FP32, Precision::TF32}, observer);
  ASSERT_TRUE(peaks);
  ASSERT_EQ(peaks->size(), 2);
  EXPECT_GT((*peaks)[0].tflops(), 0);
  EXPECT_GT((*peaks)[0].bytes_per_second(), 0);
  EXPECT_FALSE((*peaks)[1].has_tflops());
  EXPECT_THAT((*peaks)[1].note(), HasSubstr("UNSUPPORTED"));
}

TEST(DevicePeaksTest, WhatACallCostsIsMeasuredForTheModesThatTheDeviceHas) {
  const StudyPlace place;
  FakeObserver observer;
  const auto calls = MeasureCalls(place.environment(), {Precision::FP32, Precision::TF32, Precision::BF16}, observer);
  ASSERT_TRUE(calls);
  EXPECT_EQ(calls->size(), 2U);
  EXPECT_GT(calls->at(Precision::FP32), 0);
  EXPECT_GT(calls->at(Precision::BF16), 0);
  FakeObserver stopped(0);
  EXPECT_FALSE(MeasureCalls(place.environment(), {Precision::FP32}, stopped));
}

TEST(DevicePeaksTest, WithoutRoomThereIsNoPeakAndAStopLeavesNone) {
  StudyPlace place;
  place.memory_limit_bytes = 1;
  FakeObserver observer;
  const auto peaks = MeasurePeaks(place.environment(), {Precision::FP32}, observer);
  ASSERT_TRUE(peaks);
  EXPECT_FALSE((*peaks)[0].has_tflops());
  EXPECT_FALSE((*peaks)[0].has_bytes_per_second());
  EXPECT_THAT((*peaks)[0].note(), HasSubstr("not run"));
  place.memory_limit_bytes = 0;
  FakeObserver stopped(0);
  EXPECT_FALSE(MeasurePeaks(place.environment(), {Precision::FP32}, stopped));
}

TEST(DevicePeaksTest, AFasterProductRaisesItsModesPeakOnly) {
  DevicePeaks peaks;
  for (const Precision::Mode mode : {Precision::FP32, Precision::BF16}) {
    peaks.Add()->set_precision(mode);
    peaks.rbegin()->set_tflops(2);
  }
  RaisePeak(Precision::BF16, 3, peaks);
  RaisePeak(Precision::FP32, 1, peaks);
  EXPECT_EQ(FindPeak(peaks, Precision::FP32)->tflops(), 2);
  EXPECT_EQ(FindPeak(peaks, Precision::BF16)->tflops(), 3);
  EXPECT_EQ(FindPeak(peaks, Precision::FP16), nullptr);
}

}  // namespace
}  // namespace mantissa::trainer
