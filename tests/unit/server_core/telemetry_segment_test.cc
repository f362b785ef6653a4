#include "server/core/telemetry_segment.h"

#include <cmath>
#include <limits>

#include "control_plane.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

// Ten rows; the odd ones (1, 3, ...) have a grad norm of 100 + row.
v1::Segment WithAbsent() {
  v1::Segment segment = Records(1, 1, 10);
  v1::Column& norm = *segment.mutable_records()->add_columns();
  norm.set_standard(v1::Column::GRAD_NORM);
  norm.set_present(std::string("\xaa\x02", 2));
  for (int row = 1; row < 10; row += 2) norm.mutable_floats()->add_values(100.f + row);
  return segment;
}

TEST(TelemetrySegment, AcceptsWhatHoldsTogether) {
  EXPECT_TRUE(CheckSegment(WithAbsent()).ok());
  v1::Segment gap;
  gap.set_first_attempt_sequence(5);
  gap.set_count(1);
  gap.mutable_gap()->set_from(5);
  gap.mutable_gap()->set_to(9);
  EXPECT_TRUE(CheckSegment(gap).ok());
  EXPECT_EQ(LastAttemptSequence(gap), 9);
  EXPECT_EQ(LastAttemptSequence(WithAbsent()), 10);
}

TEST(TelemetrySegment, RefusesWhatDoesNot) {
  auto message = [](auto change, v1::Segment segment = WithAbsent()) {
    change(segment);
    return std::string(CheckSegment(segment).message());
  };
  EXPECT_THAT(message([](auto& s) { s.set_count(11); }), HasSubstr("values"));
  EXPECT_THAT(message([](auto& s) { s.set_count(0); }), HasSubstr("count"));
  EXPECT_THAT(message([](auto& s) { s.set_count(1 << 30); }), HasSubstr("count"));
  EXPECT_THAT(message([](auto& s) { s.set_first_attempt_sequence(0); }), HasSubstr("first_attempt_sequence"));
  EXPECT_THAT(message([](auto& s) { s.set_first_attempt_sequence(INT64_MAX); }), HasSubstr("first_attempt_sequence"));
  EXPECT_THAT(message([](auto& s) { s.clear_records(); }), HasSubstr("segment"));
  EXPECT_THAT(message([](auto& s) { s.mutable_records()->mutable_columns(3)->set_present("\xff"); }),
              HasSubstr("present"));
  EXPECT_THAT(
      message([](auto& s) { s.mutable_records()->mutable_columns(3)->set_present(std::string("\xaa\x06", 2)); }),
      HasSubstr("present"));
  EXPECT_THAT(message([](auto& s) { s.mutable_records()->mutable_columns(3)->mutable_floats()->add_values(1); }),
              HasSubstr("values"));
  EXPECT_THAT(message([](auto& s) { s.mutable_records()->mutable_columns(3)->set_name("Bad Name"); }),
              HasSubstr("name"));
  EXPECT_THAT(message([](auto& s) {
                for (int i = 0; i < 100; ++i) s.mutable_records()->add_columns();
              }),
              HasSubstr("columns"));
  v1::Segment event;
  event.set_first_attempt_sequence(1);
  event.set_count(2);
  event.mutable_event();
  EXPECT_THAT(message([](auto&) {}, event), HasSubstr("count"));
  event.set_count(1);
  event.mutable_event()->set_message(std::string(2 << 20, 'x'));
  EXPECT_THAT(message([](auto&) {}, event), HasSubstr("1 MiB"));
  v1::Segment gap;
  gap.set_first_attempt_sequence(5);
  gap.set_count(1);
  gap.mutable_gap()->set_from(5);
  gap.mutable_gap()->set_to(4);
  EXPECT_THAT(message([](auto&) {}, gap), HasSubstr("gap"));
  // What comes after it must have a number, too.
  gap.mutable_gap()->set_to(INT64_MAX);
  EXPECT_THAT(message([](auto&) {}, gap), HasSubstr("gap"));
}

TEST(TelemetrySegment, CutsColumnsWhereverTheCutFalls) {
  v1::Segment segment = WithAbsent();
  segment.set_first_sequence(21);
  for (int32_t cut = 1; cut < 10; ++cut) {
    const v1::Segment rest = FromSequence(segment, 21 + cut);
    EXPECT_EQ(RowsThrough(segment, 20 + cut), cut);
    EXPECT_TRUE(CheckSegment(rest).ok()) << cut << " " << CheckSegment(rest);
    EXPECT_EQ(rest.count(), 10 - cut);
    EXPECT_EQ(rest.first_attempt_sequence(), 1 + cut);
    EXPECT_EQ(rest.first_sequence(), 21 + cut);
    for (int32_t row = 0; row < rest.count(); ++row) {
      EXPECT_EQ(ValueAt(rest.records(), v1::Column::ITERATION, row), 1 + cut + row);
      EXPECT_EQ(ValueAt(rest.records(), v1::Column::GRAD_NORM, row),
                ValueAt(segment.records(), v1::Column::GRAD_NORM, cut + row));
    }
    const v1::Segment first = FirstRows(segment, cut);
    EXPECT_TRUE(CheckSegment(first).ok()) << cut << " " << CheckSegment(first);
    EXPECT_EQ(first.count(), cut);
    EXPECT_EQ(first.first_sequence(), 21);
    for (int32_t row = 0; row < cut; ++row) {
      EXPECT_EQ(ValueAt(first.records(), v1::Column::ITERATION, row), 1 + row);
      EXPECT_EQ(ValueAt(first.records(), v1::Column::GRAD_NORM, row),
                ValueAt(segment.records(), v1::Column::GRAD_NORM, row));
    }
  }
}

// Rows of 4, 1 and 3 records, of which 4, 0 and 1 were skipped; sequences 11 to 18.
v1::Segment ThreeThinnedRows() {
  v1::Segment segment;
  segment.set_attempt(1);
  segment.set_first_attempt_sequence(1);
  segment.set_first_sequence(11);
  segment.set_count(3);
  segment.set_through_sequence(18);
  const auto add = [&](v1::Column::Standard standard, std::initializer_list<int64_t> values) {
    v1::Column& column = *segment.mutable_records()->add_columns();
    column.set_standard(standard);
    for (const int64_t value : values) column.mutable_integers()->add_values(value);
  };
  add(v1::Column::ITERATION, {4, 5, 8});
  add(v1::Column::RECORDS, {4, 1, 3});
  add(v1::Column::SKIPPED_RECORDS, {4, 0, 1});
  return segment;
}

TEST(TelemetrySegment, CutsThinnedRowsAndTheRecordsThatTheyStandFor) {
  const v1::Segment segment = ThreeThinnedRows();
  EXPECT_EQ(LastAttemptSequence(segment), 8);
  for (int64_t sequence = 11; sequence <= 18; ++sequence) {
    const int32_t rows = sequence < 15 ? 1 : sequence < 16 ? 2 : 3;
    EXPECT_EQ(RowsThrough(segment, sequence), rows) << sequence;
    const v1::Segment rest = FromSequence(segment, sequence);
    EXPECT_EQ(rest.first_sequence(), sequence);
    EXPECT_EQ(rest.first_attempt_sequence(), sequence - 10);
    EXPECT_EQ(LastSequence(rest), 18);
    EXPECT_EQ(LastAttemptSequence(rest), 8);
    ASSERT_EQ(rest.count(), 4 - rows);
    double records = 0;
    for (int32_t row = 0; row < rest.count(); ++row) {
      const auto value = [&](v1::Column::Standard column) { return ValueAt(rest.records(), column, row).value(); };
      records += value(v1::Column::RECORDS);
      EXPECT_LE(value(v1::Column::SKIPPED_RECORDS), value(v1::Column::RECORDS));
      EXPECT_EQ(value(v1::Column::ITERATION), ValueAt(segment.records(), v1::Column::ITERATION, rows - 1 + row));
    }
    EXPECT_EQ(records, static_cast<double>(18 - sequence + 1));
    const v1::Segment first = FirstRows(segment, rows);
    EXPECT_EQ(first.count(), rows);
    EXPECT_EQ(LastSequence(first), rows == 1 ? 14 : rows == 2 ? 15 : 18);
  }
}

TEST(TelemetrySegment, CutsGapsByTheirRange) {
  v1::Segment gap;
  gap.set_first_attempt_sequence(5);
  gap.set_count(1);
  gap.mutable_gap()->set_from(5);
  gap.mutable_gap()->set_to(9);
  const v1::Segment rest = After(gap, 7);
  EXPECT_EQ(rest.first_attempt_sequence(), 8);
  EXPECT_EQ(rest.gap().from(), 8);
  EXPECT_EQ(rest.gap().to(), 9);
}

TEST(TelemetrySegment, ReadsTheNewestRow) {
  v1::JobProgress progress;
  EXPECT_EQ(TakeProgress(WithAbsent(), progress), 10);
  EXPECT_EQ(progress.iteration(), 10);
  EXPECT_EQ(progress.step(), 10);
  EXPECT_DOUBLE_EQ(progress.loss(), 0.1);
  EXPECT_DOUBLE_EQ(progress.grad_norm(), 109);
  EXPECT_FALSE(progress.has_loss_scale());

  // A skipped iteration has no grad norm, and the step stands still.
  v1::Segment skipped = Records(11, 11, 1);
  skipped.mutable_records()->mutable_columns(1)->mutable_integers()->set_values(0, 10);
  TakeProgress(skipped, progress);
  EXPECT_EQ(progress.skipped_iterations(), 1);
  EXPECT_FALSE(progress.has_grad_norm());
}

TEST(TelemetrySegment, NanIsAValueAndNonsenseIsNoCount) {
  v1::Segment segment = Records(1, 1, 1);
  segment.mutable_records()->mutable_columns(2)->mutable_doubles()->set_values(0, std::nan(""));
  v1::Column& iteration = *segment.mutable_records()->mutable_columns(0);
  iteration.mutable_doubles()->add_values(std::nan(""));
  v1::JobProgress progress;
  EXPECT_EQ(TakeProgress(segment, progress), 0);
  EXPECT_TRUE(std::isnan(progress.loss()));
  iteration.mutable_doubles()->set_values(0, 1e300);
  EXPECT_EQ(TakeProgress(segment, progress), 0);
}

}  // namespace
}  // namespace mantissa::server
