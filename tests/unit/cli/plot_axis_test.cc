// Which numbers stand beside a plot.
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/cli/plot/axis.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Texts(const std::vector<Tick>& ticks) {
  std::vector<std::string> texts;
  for (const Tick& tick : ticks) texts.push_back(tick.text);
  return texts;
}

TEST(Axis, LinearTicksAreRoundNumbersWithTheSameDecimals) {
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLinear, 0.11, 2.31), 5)), ElementsAre("0.5", "1.0", "1.5", "2.0"));
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLinear, 0.9912, 0.9987), 4)),
              ElementsAre("0.992", "0.994", "0.996", "0.998"));
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLinear, -3, 3), 4)), ElementsAre("-2", "0", "2"));
}

TEST(Axis, LinearTicksBeyondWhatIsWrittenOutHaveExponents) {
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLinear, 1e-7, 9e-7), 3)), ElementsAre("2.5e-7", "5.0e-7", "7.5e-7"));
  EXPECT_THAT(Texts(TicksOf({AxisKind::kLinear, 0, 4e9}, 3)), ElementsAre("0", "2.0e9", "4.0e9"));
}

TEST(Axis, NothingBelowZeroIsDrawnOfWhatIsNeverBelowZero) {
  EXPECT_EQ(AxisFor(AxisKind::kLinear, 0.01, 2).from, 0);
  EXPECT_LT(AxisFor(AxisKind::kLinear, -0.01, 2).from, -0.01);
}

TEST(Axis, OneValueLiesInTheMiddle) {
  EXPECT_NEAR(AxisFor(AxisKind::kLinear, 5, 5).Place(5), 0.5, 1e-9);
  EXPECT_NEAR(AxisFor(AxisKind::kLinear, 0, 0).Place(0), 0, 1e-9) << "0 is the lower end of what is never below it";
  EXPECT_NEAR(AxisFor(AxisKind::kLogOfTwo, 65536, 65536).Place(65536), 0.5, 1e-9);
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLogOfTwo, 65536, 65536), 4)), ElementsAre("32768", "65536", "131072"));
}

TEST(Axis, LogTicksAreOneTwoFiveThenDecadesThenFewerOfThem) {
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLog, 0.02, 2.3), 8)),
              ElementsAre("0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"));
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLog, 0.02, 2.3), 5)), ElementsAre("0.03", "0.1", "0.3", "1"));
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLog, 1e-5, 3), 6)),
              ElementsAre("1e-5", "1e-4", "0.001", "0.01", "0.1", "1"));
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLog, 1e-300, 1e300), 3)), ElementsAre("1e-154", "1", "1e154"));
}

TEST(Axis, LessThanAFactorOnALogAxisHasLinearTicks) {
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLog, 2.1, 3.4), 4)), ElementsAre("2.5", "3.0"));
}

TEST(Axis, ScalesHavePowersOfTwo) {
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLogOfTwo, 16384, 65536), 4)), ElementsAre("16384", "32768", "65536"));
  EXPECT_THAT(Texts(TicksOf(AxisFor(AxisKind::kLogOfTwo, 1, 65536), 5)),
              ElementsAre("1", "16", "256", "4096", "65536"));
}

TEST(Axis, WhatIsNotAboveZeroHasNoLogAxis) {
  EXPECT_EQ(AxisFor(AxisKind::kLog, 0, 3).kind, AxisKind::kLinear);
  EXPECT_EQ(AxisFor(AxisKind::kLog, -1, 3).kind, AxisKind::kLinear);
  EXPECT_EQ(AxisFor(AxisKind::kLog, 0.1, 3).kind, AxisKind::kLog);
}

TEST(Axis, EveryRangeHasEndsThatCanBeDrawn) {
  const double most = std::numeric_limits<double>::max();
  for (const AxisKind kind : {AxisKind::kLinear, AxisKind::kLog, AxisKind::kLogOfTwo}) {
    for (const auto& [low, high] :
         {std::pair{-most, most},
          {most, most},
          {5e-324, most},
          {5e-324, 5e-324},
          {2.0, 1.0},
          {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()}}) {
      const Axis axis = AxisFor(kind, low, high);
      EXPECT_LT(axis.from, axis.to);
      EXPECT_TRUE(std::isfinite(axis.to - axis.from)) << low << " to " << high;
      EXPECT_LE(TicksOf(axis, 5).size(), 5u) << low << " to " << high;
    }
  }
}

TEST(Axis, CountsAreWholeNumbers) {
  EXPECT_THAT(Texts(CountTicksOf({AxisKind::kLinear, 1, 690}, 5)), ElementsAre("200", "400", "600"));
  EXPECT_THAT(Texts(CountTicksOf({AxisKind::kLinear, 1, 3}, 8)), ElementsAre("1", "2", "3"));
  EXPECT_THAT(Texts(CountTicksOf({AxisKind::kLinear, 1, 1'000'000}, 2)), ElementsAre("500,000", "1,000,000"));
}

}  // namespace
}  // namespace mantissa::cli
