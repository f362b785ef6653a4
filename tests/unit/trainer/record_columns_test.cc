#include "worker/trainer/report/record_columns.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/telemetry.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Column = v1::Column;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

IterationRecord Applied(std::int64_t iteration, double loss = 1) {
  IterationRecord record;
  record.iteration = iteration;
  record.step = iteration;
  record.lineage = 1;
  record.loss = loss;
  record.grad_norm = loss / 2;
  return record;
}

IterationRecord Skipped(std::int64_t iteration, double loss = 1) {
  IterationRecord record = Applied(iteration, loss);
  record.applied = false;
  record.cause = SkipCause::kOverflow;
  record.grad_norm = std::nullopt;
  return record;
}

TEST(RecordColumnsTest, EveryFieldHasItsColumn) {
  RecordColumns rows(/*scaled=*/true);
  IterationRecord record = Applied(7, 0.5);
  record.step = 6;
  record.lineage = 2;
  record.time_unix_nanos = 1'790'000'000'000'000'001;
  record.loss_scale = 1024;
  record.learning_rate = 0.25;
  record.seconds = 0.125;
  record.samples_per_second = 512;
  record.phase = Phase::kSteady;
  record.growth_tracker = 11;
  record.hysteresis_tracker = 2;
  record.memory_bytes = 1 << 20;
  record.peak_memory_bytes = 1 << 21;
  rows.Add(record);
  const v1::RecordColumns columns = rows.Take();
  EXPECT_THAT(IntegersIn(columns, Column::ITERATION), ElementsAre(7));
  EXPECT_THAT(IntegersIn(columns, Column::STEP), ElementsAre(6));
  EXPECT_THAT(IntegersIn(columns, Column::LINEAGE), ElementsAre(2));
  EXPECT_THAT(IntegersIn(columns, Column::TIME_UNIX_NANOS), ElementsAre(1'790'000'000'000'000'001));
  EXPECT_THAT(DoublesIn(columns, Column::LOSS), ElementsAre(0.5));
  EXPECT_THAT(DoublesIn(columns, Column::LOSS_SCALE), ElementsAre(1024));
  EXPECT_THAT(ColumnOf(columns, Column::APPLIED)->bools().values(), ElementsAre(true));
  EXPECT_EQ(ColumnOf(columns, Column::SKIP_CAUSE), nullptr);
  EXPECT_THAT(DoublesIn(columns, Column::GRAD_NORM), ElementsAre(0.25));
  EXPECT_THAT(DoublesIn(columns, Column::LEARNING_RATE), ElementsAre(0.25));
  EXPECT_THAT(DoublesIn(columns, Column::ITERATION_SECONDS), ElementsAre(0.125));
  EXPECT_THAT(DoublesIn(columns, Column::SAMPLES_PER_SECOND), ElementsAre(512));
  EXPECT_THAT(IntegersIn(columns, Column::PHASE), ElementsAre(v1::Phase::STEADY));
  EXPECT_THAT(IntegersIn(columns, Column::GROWTH_TRACKER), ElementsAre(11));
  EXPECT_THAT(IntegersIn(columns, Column::HYSTERESIS_TRACKER), ElementsAre(2));
  EXPECT_THAT(IntegersIn(columns, Column::MEMORY_BYTES), ElementsAre(1 << 20));
  EXPECT_THAT(IntegersIn(columns, Column::PEAK_MEMORY_BYTES), ElementsAre(1 << 21));
}

TEST(RecordColumnsTest, WithoutALossScaleItsColumnsAreNotThere) {
  RecordColumns rows(/*scaled=*/false);
  rows.Add(Applied(1));
  const v1::RecordColumns columns = rows.Take();
  for (const Column::Standard id : {Column::LOSS_SCALE, Column::GROWTH_TRACKER, Column::HYSTERESIS_TRACKER}) {
    EXPECT_EQ(ColumnOf(columns, id), nullptr) << Column::Standard_Name(id);
  }
  EXPECT_NE(ColumnOf(columns, Column::LOSS), nullptr);
}

TEST(RecordColumnsTest, AbsentIsNotNan) {
  RecordColumns rows(/*scaled=*/true);
  rows.Add(Applied(1));
  rows.Add(Skipped(2, kNan));
  rows.Add(Applied(3, 3));
  const v1::RecordColumns columns = rows.Take();
  // The loss of the skipped row is there, and is NaN; its grad norm is not there.
  const std::vector<double> losses = DoublesIn(columns, Column::LOSS);
  ASSERT_EQ(losses.size(), 3u);
  EXPECT_TRUE(std::isnan(losses[1]));
  EXPECT_EQ(ColumnOf(columns, Column::LOSS)->present(), "");
  EXPECT_THAT(DoublesIn(columns, Column::GRAD_NORM), ElementsAre(0.5, 1.5));
  EXPECT_EQ(ColumnOf(columns, Column::GRAD_NORM)->present(), std::string("\x05"));
  EXPECT_THAT(IntegersIn(columns, Column::SKIP_CAUSE), ElementsAre(v1::SkipCause::OVERFLOW));
  EXPECT_EQ(ColumnOf(columns, Column::SKIP_CAUSE)->present(), std::string("\x02"));
  EXPECT_THAT(ColumnOf(columns, Column::APPLIED)->bools().values(), ElementsAre(true, false, true));
}

TEST(RecordColumnsTest, AGradNormThatIsNanIsAValue) {
  RecordColumns rows(/*scaled=*/false);
  IterationRecord record = Applied(1);
  record.grad_norm = kNan;
  rows.Add(record);
  const v1::RecordColumns columns = rows.Take();
  ASSERT_EQ(DoublesIn(columns, Column::GRAD_NORM).size(), 1u);
  EXPECT_TRUE(std::isnan(DoublesIn(columns, Column::GRAD_NORM)[0]));
}

TEST(RecordColumnsTest, PresenceGoesOnInTheNextByte) {
  RecordColumns rows(/*scaled=*/false);
  for (int i = 1; i <= 10; ++i) rows.Add(i == 8 || i == 9 ? Skipped(i) : Applied(i));
  const v1::RecordColumns columns = rows.Take();
  EXPECT_EQ(ColumnOf(columns, Column::SKIP_CAUSE)->present(), std::string("\x80\x01"));
  EXPECT_EQ(ColumnOf(columns, Column::GRAD_NORM)->present(), std::string("\x7f\x02"));
}

TEST(RecordColumnsTest, MemoryThatWasNotSampledIsAbsent) {
  RecordColumns rows(/*scaled=*/false);
  rows.Add(Applied(1));
  IterationRecord sampled = Applied(2);
  sampled.memory_bytes = 5;
  sampled.peak_memory_bytes = 6;
  rows.Add(sampled);
  const v1::RecordColumns columns = rows.Take();
  EXPECT_THAT(IntegersIn(columns, Column::MEMORY_BYTES), ElementsAre(5));
  EXPECT_EQ(ColumnOf(columns, Column::MEMORY_BYTES)->present(), std::string("\x02"));
  EXPECT_THAT(IntegersIn(columns, Column::PEAK_MEMORY_BYTES), ElementsAre(6));
}

TEST(RecordColumnsTest, WhatWasTakenIsGone) {
  RecordColumns rows(/*scaled=*/true);
  rows.Add(Skipped(1));
  rows.Take();
  EXPECT_EQ(rows.rows(), 0);
  rows.Add(Applied(2));
  EXPECT_EQ(rows.rows(), 1);
  const v1::RecordColumns columns = rows.Take();
  for (const Column& column : columns.columns()) {
    EXPECT_EQ(column.integers().values_size() + column.doubles().values_size() + column.bools().values_size(), 1)
        << Column::Standard_Name(column.standard());
    EXPECT_EQ(column.present(), "");
  }
}

TEST(GapSummaryTest, SaysWhatIsLostWithTheRows) {
  RecordColumns rows(/*scaled=*/false);
  rows.Add(Applied(4, 2));
  rows.Add(Skipped(5, kNan));
  rows.Add(Applied(6, 0.5));
  rows.Add(Skipped(7, kInf));
  const v1::GapSummary summary = rows.Summary();
  EXPECT_EQ(summary.records(), 4);
  EXPECT_EQ(summary.first_iteration(), 4);
  EXPECT_EQ(summary.last_iteration(), 7);
  EXPECT_EQ(summary.skipped_iterations(), 2);
  EXPECT_EQ(summary.min_loss(), 0.5);
  EXPECT_EQ(summary.max_loss(), kInf);
  EXPECT_EQ(summary.last_loss(), kInf);
  EXPECT_EQ(rows.rows(), 4) << "a summary takes nothing away";
}

TEST(GapSummaryTest, LossesThatAreAllNanHaveNoLeastAndNoLargest) {
  RecordColumns rows(/*scaled=*/false);
  rows.Add(Skipped(1, kNan));
  const v1::GapSummary summary = rows.Summary();
  EXPECT_FALSE(summary.has_min_loss());
  EXPECT_FALSE(summary.has_max_loss());
  EXPECT_TRUE(std::isnan(summary.last_loss()));
}

TEST(GapSummaryTest, OfNoRowsSaysNothing) {
  const v1::GapSummary summary = RecordColumns(/*scaled=*/false).Summary();
  EXPECT_EQ(summary.records(), 0);
  EXPECT_FALSE(summary.has_last_loss());
}

TEST(GapSummaryTest, ClearedRowsAreForgotten) {
  RecordColumns rows(/*scaled=*/false);
  rows.Add(Applied(1, 9));
  rows.Clear();
  rows.Add(Applied(2, 3));
  EXPECT_EQ(rows.Summary().max_loss(), 3);
  EXPECT_EQ(rows.Summary().first_iteration(), 2);
}

}  // namespace
}  // namespace mantissa::trainer
