// Histories, thinned and not, as what is drawn.
#include "client/cli/plot/plot_data.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/cli/plot_records.h"

namespace mantissa::cli {
namespace {

using ::testing::Optional;
using ::testing::SizeIs;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Two rows that stand for 100 records each.
v1::Segment Thinned() {
  v1::Segment segment;
  segment.set_attempt(1);
  segment.set_count(2);
  segment.set_first_sequence(1);
  segment.set_through_sequence(200);
  AddIntegers(segment, v1::Column::ITERATION, {100, 200});
  AddIntegers(segment, v1::Column::RECORDS, {100, 100});
  AddIntegers(segment, v1::Column::SKIPPED_RECORDS, {3, 0});
  // The ends come before what they are of, and are not taken for it.
  AddDoubles(segment, v1::Column::LOSS, v1::Column::MINIMUM, {0.5, 0.25});
  AddDoubles(segment, v1::Column::LOSS, v1::Column::MAXIMUM, {2.5, kNan});
  AddDoubles(segment, v1::Column::LOSS, v1::Column::STATISTIC_UNSPECIFIED, {0.75, kNan});
  AddDoubles(segment, v1::Column::GRAD_NORM, v1::Column::STATISTIC_UNSPECIFIED, {std::nullopt, 1.0});
  AddDoubles(segment, v1::Column::GRAD_NORM, v1::Column::MINIMUM, {0.1, 0.9});
  AddDoubles(segment, v1::Column::GRAD_NORM, v1::Column::MAXIMUM, {kInf, 1.1});
  return segment;
}

TEST(PlotData, AThinnedRowReachesFromItsMinimumToItsMaximum) {
  PlotReader reader;
  reader.Add(Thinned());
  const PlotData data = reader.Take();
  ASSERT_THAT(data.runs, SizeIs(1));
  ASSERT_THAT(data.runs[0].points, SizeIs(2));
  const PlotPoint& first = data.runs[0].points[0];
  EXPECT_EQ(first.iteration, 100);
  EXPECT_THAT(first.loss.last, Optional(0.75));
  EXPECT_THAT(first.loss.low, Optional(0.5));
  EXPECT_THAT(first.loss.high, Optional(2.5));
  EXPECT_EQ(first.skipped, 3) << "some of its records were skipped, though its last was not";
  EXPECT_EQ(data.records, 200);
  EXPECT_EQ(data.skipped, 3);
}

TEST(PlotData, ABucketWithValuesThatAreNoNumbersSaysSoAndKeepsTheOthers) {
  PlotReader reader;
  reader.Add(Thinned());
  const PlotData data = reader.Take();
  const PlotPoint& nan = data.runs[0].points[1];
  EXPECT_TRUE(nan.loss.nan);
  EXPECT_FALSE(nan.loss.infinite);
  EXPECT_EQ(nan.loss.last, std::nullopt);
  EXPECT_THAT(nan.loss.low, Optional(0.25));
  EXPECT_THAT(nan.loss.high, Optional(0.25));
  const PlotPoint& inf = data.runs[0].points[0];
  EXPECT_TRUE(inf.grad_norm.infinite);
  EXPECT_FALSE(inf.grad_norm.nan);
  EXPECT_EQ(inf.grad_norm.last, std::nullopt) << "the last record was skipped";
  EXPECT_THAT(inf.grad_norm.high, Optional(0.1));
}

TEST(PlotData, PlainRecordsAreOneEach) {
  PlotReader reader;
  reader.Add(PlotSegment({{.iteration = 1, .loss = 0.5}, {.iteration = 2, .loss = kNan, .applied = false}}));
  const PlotData data = reader.Take();
  ASSERT_THAT(data.runs, SizeIs(1));
  EXPECT_THAT(data.runs[0].points[0].loss.low, Optional(0.5));
  EXPECT_EQ(data.runs[0].points[0].skipped, 0);
  EXPECT_TRUE(data.runs[0].points[1].loss.nan);
  EXPECT_EQ(data.runs[0].points[1].skipped, 1);
  EXPECT_EQ(data.runs[0].superseded_from, kInf) << "nothing trained them again";
}

TEST(PlotData, AGapEndsARunAndAnotherOfTheSameAttemptSupersedesNothing) {
  PlotReader reader;
  reader.Add(PlotSegment({{.iteration = 1}, {.iteration = 2}}));
  reader.Add(PlotGapSegment(1, 7, 3, 9));
  reader.Add(PlotSegment({{.iteration = 10}}));
  reader.Add(PlotSegment({{.iteration = 11}}));
  const PlotData data = reader.Take();
  ASSERT_THAT(data.runs, SizeIs(2));
  EXPECT_THAT(data.runs[1].points, SizeIs(2)) << "segments that follow each other are one run";
  EXPECT_EQ(data.runs[0].superseded_from, kInf);
  ASSERT_THAT(data.gaps, SizeIs(1));
  EXPECT_EQ(data.gaps[0].first_iteration, 3);
  EXPECT_EQ(data.gaps[0].last_iteration, 9);
  EXPECT_EQ(data.gaps[0].records, 7);
}

TEST(PlotData, WhatALaterAttemptOrLineageTrainedAgainIsSuperseded) {
  PlotReader reader;
  reader.Add(PlotSegment({{.iteration = 1}, {.iteration = 9}}, 1));
  reader.Add(PlotSegment({{.iteration = 7}, {.iteration = 12}}, 2));
  reader.Add(PlotSegment({{.iteration = 5}}, 2, 2));
  const PlotData data = reader.Take();
  ASSERT_THAT(data.runs, SizeIs(3));
  EXPECT_EQ(data.runs[0].superseded_from, 5);
  EXPECT_EQ(data.runs[1].superseded_from, 5);
  EXPECT_EQ(data.runs[2].superseded_from, kInf);
  EXPECT_EQ(data.runs[2].lineage, 2);
}

TEST(PlotData, RowsWithoutAnIterationAndOtherEventsAreNotDrawn) {
  PlotReader reader;
  v1::Segment nowhere;
  nowhere.set_count(1);
  AddDoubles(nowhere, v1::Column::LOSS, v1::Column::STATISTIC_UNSPECIFIED, {1.0});
  reader.Add(nowhere);
  reader.AddEvent(v1::JobEvent());
  reader.AddEvent(PlotEvaluated(8, 0.5));
  const PlotData data = reader.Take();
  EXPECT_THAT(data.runs, SizeIs(0));
  ASSERT_THAT(data.evaluations, SizeIs(1));
  EXPECT_EQ(data.evaluations[0].iteration, 8);
}

}  // namespace
}  // namespace mantissa::cli
