// What a thinned row says of the records that it stands for.
#include "server/core/thinning.h"

#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "proto/spec/column_values.h"
#include "server/core/telemetry_segment.h"

namespace mantissa::server {
namespace {

using spec::FindColumn;
using spec::IsPresent;
using spec::NumberAt;
using spec::ValueCount;
using spec::ValuesBefore;
using testing::DoubleEq;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::IsNan;
using testing::SizeIs;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

struct Record {
  double loss = 1;
  bool applied = true;
  std::optional<double> grad_norm = 0.5;
};

// A job's entries as they are stored, numbered one after another.
class Story {
 public:
  v1::Segment Records(const std::vector<Record>& records, int32_t attempt = 1) {
    v1::Segment segment = Next(static_cast<int32_t>(records.size()), attempt);
    auto column = [&](v1::Column::Standard standard) {
      v1::Column& added = *segment.mutable_records()->add_columns();
      added.set_standard(standard);
      return &added;
    };
    v1::Column *iteration = column(v1::Column::ITERATION), *loss = column(v1::Column::LOSS),
               *applied = column(v1::Column::APPLIED), *norm = column(v1::Column::GRAD_NORM);
    std::string present((records.size() + 7) / 8, '\0');
    for (size_t i = 0; i < records.size(); ++i) {
      iteration->mutable_integers()->add_values(++iteration_);
      loss->mutable_doubles()->add_values(records[i].loss);
      applied->mutable_bools()->add_values(records[i].applied);
      if (!records[i].grad_norm) continue;
      norm->mutable_doubles()->add_values(*records[i].grad_norm);
      present[i / 8] |= static_cast<char>(1 << (i % 8));
    }
    norm->set_present(present);
    return segment;
  }
  v1::Segment Event() {
    v1::Segment segment = Next(1, 1);
    segment.mutable_event()->set_reason("E" + std::to_string(segment.first_sequence()));
    return segment;
  }
  v1::Segment Gap() {
    v1::Segment segment = Next(1, 1);
    segment.mutable_gap()->set_reason("lost");
    return segment;
  }
  int64_t last() const { return next_ - 1; }

 private:
  v1::Segment Next(int32_t count, int32_t attempt) {
    v1::Segment segment;
    segment.set_attempt(attempt);
    segment.set_count(count);
    segment.set_first_sequence(next_);
    segment.set_first_attempt_sequence(next_);
    next_ += count;
    return segment;
  }

  int64_t next_ = 1, iteration_ = 0;
};

std::vector<v1::Segment> Thin(const std::vector<v1::Segment>& segments, ThinningPlan plan) {
  Thinning thinning(std::move(plan));
  for (const v1::Segment& segment : segments) thinning.Add(segment);
  thinning.Finish();
  return thinning.Take();
}

// Every value of a quantity, row by row, over the segments; nothing where a row has none.
std::vector<std::optional<double>> Values(const std::vector<v1::Segment>& segments, v1::Column::Standard standard,
                                          v1::Column::Statistic statistic = v1::Column::STATISTIC_UNSPECIFIED) {
  std::vector<std::optional<double>> values;
  for (const v1::Segment& segment : segments) {
    if (!segment.has_records()) continue;
    const v1::Column* const column = FindColumn(segment.records(), standard, statistic);
    if (column != nullptr) {
      EXPECT_EQ(ValueCount(*column), ValuesBefore(*column, segment.count())) << "one value for each row that has one";
    }
    for (int32_t row = 0; row < segment.count(); ++row) {
      const bool has = column != nullptr && IsPresent(*column, row);
      values.push_back(has ? std::optional(NumberAt(*column, ValuesBefore(*column, row))) : std::nullopt);
    }
  }
  return values;
}

double Sum(const std::vector<std::optional<double>>& values) {
  double sum = 0;
  for (const auto& value : values) sum += value.value_or(0);
  return sum;
}

// Sequences of what was made: contiguous, in order, to the end.
void ExpectEverySequenceIsAnsweredFor(const std::vector<v1::Segment>& segments, int64_t last) {
  int64_t through = 0;
  for (const v1::Segment& segment : segments) {
    EXPECT_GT(segment.first_sequence(), through);
    EXPECT_GE(LastSequence(segment), segment.first_sequence());
    through = LastSequence(segment);
  }
  EXPECT_EQ(through, last);
}

TEST(Thinning, OfNoMoreRecordsThanPointsThereIsNothingToThin) {
  EXPECT_FALSE(PlanThinning(100, 100));
  EXPECT_FALSE(PlanThinning(100, 0));
  EXPECT_FALSE(PlanThinning(0, 5));
  ASSERT_TRUE(PlanThinning(101, 100));
  EXPECT_EQ(PlanThinning(101, 100)->records_per_row, 2);
  EXPECT_EQ(PlanThinning(1'000'000, 2'000)->records_per_row, 500);
  EXPECT_EQ(PlanThinning(1'000'000, 1)->records_per_row, 1'000'000);
}

TEST(Thinning, ARowIsTheLastOfItsRecordsAndSaysTheEndsOfAll) {
  Story story;
  const auto rows = Thin({story.Records({{3}, {1}, {2}}), story.Records({{5}, {4}, {6}})}, {.records_per_row = 3});
  ASSERT_THAT(rows, SizeIs(1)) << "rows that follow one another share a segment";
  EXPECT_EQ(rows[0].count(), 2);
  EXPECT_EQ(rows[0].first_sequence(), 1);
  EXPECT_EQ(rows[0].through_sequence(), 6);
  EXPECT_THAT(Values(rows, v1::Column::ITERATION), ElementsAre(3, 6));
  EXPECT_THAT(Values(rows, v1::Column::LOSS), ElementsAre(2, 6));
  EXPECT_THAT(Values(rows, v1::Column::LOSS, v1::Column::MINIMUM), ElementsAre(1, 4));
  EXPECT_THAT(Values(rows, v1::Column::LOSS, v1::Column::MAXIMUM), ElementsAre(3, 6));
  EXPECT_THAT(Values(rows, v1::Column::RECORDS), ElementsAre(3, 3));
  EXPECT_THAT(Values(rows, v1::Column::SKIPPED_RECORDS), ElementsAre(0, 0));
}

TEST(Thinning, ANanIsSeenInTheMaximumAndHidesNoMinimum) {
  Story story;
  const auto rows =
      Thin({story.Records({{kNan}, {2}, {-kInf}, {kNan}, {kNan}, {kNan}, {kInf}, {1}, {7}})}, {.records_per_row = 3});
  EXPECT_THAT(Values(rows, v1::Column::LOSS, v1::Column::MINIMUM), ElementsAre(-kInf, std::nullopt, 1));
  const auto max = Values(rows, v1::Column::LOSS, v1::Column::MAXIMUM);
  ASSERT_THAT(max, SizeIs(3));
  EXPECT_THAT(*max[0], IsNan());
  EXPECT_THAT(*max[1], IsNan());
  EXPECT_EQ(*max[2], kInf);
}

TEST(Thinning, SkippedRecordsAreCountedAndWhatTheyLackIsLeftOut) {
  Story story;
  const Record skipped = {.loss = kInf, .applied = false, .grad_norm = std::nullopt};
  const auto rows = Thin({story.Records({{1, true, 0.25}, skipped, skipped, skipped, {1, true, 2.0}, {1, true, 4.0}})},
                         {.records_per_row = 2});
  EXPECT_THAT(Values(rows, v1::Column::SKIPPED_RECORDS), ElementsAre(1, 2, 0));
  EXPECT_THAT(Values(rows, v1::Column::GRAD_NORM), ElementsAre(std::nullopt, std::nullopt, 4))
      << "the last record's own, or none";
  EXPECT_THAT(Values(rows, v1::Column::GRAD_NORM, v1::Column::MINIMUM), ElementsAre(0.25, std::nullopt, 2));
  EXPECT_THAT(Values(rows, v1::Column::APPLIED), ElementsAre(0, 0, 1));
}

TEST(Thinning, ColumnsOfAnyTypeAndNameComeAlong) {
  Story story;
  v1::Segment segment = story.Records({{1}, {2}, {3}, {4}});
  v1::Column& named = *segment.mutable_records()->add_columns();
  named.set_name("user/accuracy");
  for (const float value : {0.1f, 0.2f, 0.3f, 0.4f}) named.mutable_floats()->add_values(value);
  v1::Column& unknown = *segment.mutable_records()->add_columns();
  unknown.set_standard(static_cast<v1::Column::Standard>(4'711));
  for (const int64_t value : {INT64_MIN, INT64_MAX, int64_t{0}, INT64_MAX - 1}) {
    unknown.mutable_integers()->add_values(value);
  }
  const auto rows = Thin({segment}, {.records_per_row = 2});
  ASSERT_THAT(rows, SizeIs(1));
  for (const v1::Column& column : rows[0].records().columns()) {
    if (column.name() == "user/accuracy") {
      EXPECT_THAT(column.floats().values(), ElementsAre(0.2f, 0.4f));
    }
    if (column.standard() == 4'711) {
      EXPECT_THAT(column.integers().values(), ElementsAre(INT64_MAX, INT64_MAX - 1)) << "bit for bit";
    }
  }
  EXPECT_EQ(rows[0].records().columns_size(), 4 + 2 + 2 + 4) << "its own, two more, what it stands for, two ends each";
}

TEST(Thinning, AColumnThatChangesItsTypeBeginsAnotherSegment) {
  Story story;
  v1::Segment one = story.Records({{1}}), two = story.Records({{2}});
  v1::Column& a = *one.mutable_records()->add_columns();
  a.set_name("x");
  a.mutable_floats()->add_values(1.5f);
  v1::Column& b = *two.mutable_records()->add_columns();
  b.set_name("x");
  b.mutable_integers()->add_values(7);
  EXPECT_THAT(Thin({one, two}, {.records_per_row = 1}), SizeIs(2));
}

TEST(Thinning, OnlyWhatWasAskedForComesWithWhatTellsHowToReadIt) {
  Story story;
  const auto rows = Thin({story.Records({{1}, {2}, {3}, {4}})}, {.records_per_row = 2, .columns = {v1::Column::LOSS}});
  ASSERT_THAT(rows, SizeIs(1));
  EXPECT_EQ(rows[0].records().columns_size(), 5) << "LOSS, its ends, RECORDS, SKIPPED_RECORDS";
  EXPECT_THAT(Values(rows, v1::Column::SKIPPED_RECORDS), ElementsAre(0, 0));
  Story other;
  Thinning none({.records_per_row = 2, .columns = {v1::Column::MEMORY_BYTES}});
  none.Add(other.Records({{1}, {2}, {3}, {4}}));
  EXPECT_THAT(none.Take(), IsEmpty());
  EXPECT_EQ(none.covered_through(), 4) << "and what was left out is answered for";
}

TEST(Thinning, ARowIsOfOneAttempt) {
  Story story;
  const auto rows =
      Thin({story.Records({{1}, {2}, {3}}, 1), story.Records({{4}, {5}, {6}, {7}, {8}}, 2)}, {.records_per_row = 4});
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].attempt(), 1);
  EXPECT_EQ(rows[1].attempt(), 2);
  EXPECT_EQ(rows[1].first_attempt_sequence(), 4);
  EXPECT_THAT(Values(rows, v1::Column::RECORDS), ElementsAre(3, 4, 1));
  ExpectEverySequenceIsAnsweredFor(rows, 8);
}

TEST(Thinning, ARowEndsAtAnEventWhileThatCostsFewRows) {
  Story story;
  const std::vector<v1::Segment> all = {story.Records({{1}, {2}}), story.Event(), story.Records({{3}, {4}, {5}}),
                                        story.Gap(), story.Records({{6}})};
  const auto free = Thin(all, {.records_per_row = 10, .extra_rows = 2});
  ASSERT_THAT(free, SizeIs(5));
  EXPECT_TRUE(free[1].has_event());
  EXPECT_TRUE(free[3].has_gap());
  EXPECT_THAT(Values(free, v1::Column::RECORDS), ElementsAre(2, 3, 1));
  ExpectEverySequenceIsAnsweredFor(free, story.last());

  const auto bound = Thin(all, {.records_per_row = 10, .extra_rows = 0});
  ASSERT_THAT(bound, SizeIs(3));
  EXPECT_TRUE(bound[0].has_event()) << "it was before the row's last record";
  EXPECT_TRUE(bound[1].has_gap());
  EXPECT_EQ(bound[2].first_sequence(), LastSequence(bound[1]) + 1);
  EXPECT_THAT(Values(bound, v1::Column::RECORDS), ElementsAre(6));
  ExpectEverySequenceIsAnsweredFor(bound, story.last());
}

TEST(Thinning, AnEventAfterTheLastRecordStaysAfterIt) {
  Story story;
  const auto all = Thin({story.Records({{1}, {2}}), story.Event()}, {.records_per_row = 10});
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_TRUE(all[0].has_records());
  EXPECT_TRUE(all[1].has_event());
}

TEST(Thinning, MoreEventsThanPointsDoNotUndoIt) {
  Story story;
  std::vector<v1::Segment> all;
  for (int i = 0; i < 5'000; ++i) {
    all.push_back(story.Records({{1}, {2}}));
    all.push_back(story.Event());
  }
  const auto thin = Thin(all, *PlanThinning(10'000, 100));
  const auto records = Values(thin, v1::Column::RECORDS);
  EXPECT_LE(records.size(), 126u) << "a quarter more, and the last";
  EXPECT_EQ(Sum(records), 10'000);
  EXPECT_EQ(std::count_if(thin.begin(), thin.end(), [](const auto& segment) { return segment.has_event(); }), 5'000);
  ExpectEverySequenceIsAnsweredFor(thin, story.last());
}

TEST(Thinning, WhatIsCompleteComesBeforeTheEndDoes) {
  Story story;
  Thinning thinning({.records_per_row = 4});
  thinning.Add(story.Records({{1}, {2}, {3}}));
  EXPECT_THAT(thinning.Take(), IsEmpty());
  EXPECT_EQ(thinning.covered_through(), 0);
  thinning.Add(story.Records({{4}, {5}}));
  EXPECT_THAT(Values(thinning.Take(), v1::Column::RECORDS), ElementsAre(4));
  EXPECT_EQ(thinning.covered_through(), 4);
  thinning.Finish();
  EXPECT_THAT(Values(thinning.Take(), v1::Column::RECORDS), ElementsAre(1));
  EXPECT_EQ(thinning.covered_through(), 5);
  EXPECT_THAT(thinning.Take(), IsEmpty());
}

TEST(Thinning, ThinnedRowsCountForWhatTheyStandFor) {
  Story story;
  std::vector<v1::Segment> all;
  std::mt19937 random(17);
  int skipped = 0;
  for (int i = 0; i < 64; ++i) {
    std::vector<Record> records;
    for (int j = 0; j < 10; ++j) {
      const bool skip = random() % 7 == 0;
      skipped += skip;
      records.push_back({static_cast<double>(random() % 1'000), !skip});
    }
    all.push_back(story.Records(records));
  }
  const auto once = Thin(Thin(all, {.records_per_row = 8}), {.records_per_row = 32});
  const auto direct = Thin(all, {.records_per_row = 32});
  ASSERT_EQ(once.size(), direct.size());
  for (size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(once[i].SerializeAsString(), direct[i].SerializeAsString()) << i;
  }
  EXPECT_EQ(Sum(Values(once, v1::Column::SKIPPED_RECORDS)), skipped);
}

TEST(Thinning, AWorkersOwnColumnOfThatNameCountsForNothing) {
  Story story;
  v1::Segment segment = story.Records({{1}, {2}});
  v1::Column& records = *segment.mutable_records()->add_columns();
  records.set_standard(v1::Column::RECORDS);
  records.mutable_integers()->add_values(INT64_MAX);
  records.mutable_integers()->add_values(-5);
  EXPECT_THAT(Values(Thin({segment}, {.records_per_row = 2}), v1::Column::RECORDS), ElementsAre(2));
}

// Any run, cut and interrupted anyhow, against the plain way to say the same.
TEST(Thinning, EveryRecordIsInExactlyOneRowWhateverTheRun) {
  for (uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    Story story;
    std::vector<v1::Segment> all;
    int64_t records = 0, skipped = 0, others = 0;
    double least = kInf;
    int attempt = 1;
    while (records < 500) {
      const uint32_t kind = random() % 12;
      if (kind == 0) all.push_back(story.Event());
      if (kind == 1) all.push_back(story.Gap());
      others += kind <= 1;
      if (kind == 2 && random() % 4 == 0) ++attempt;
      if (kind <= 2) continue;
      std::vector<Record> some(1 + random() % 20);
      for (Record& record : some) {
        record.loss = random() % 30 == 0 ? kNan : static_cast<double>(random() % 10'000);
        record.applied = random() % 5 != 0;
        if (!record.applied) record.grad_norm.reset();
        skipped += !record.applied;
        if (!std::isnan(record.loss)) least = std::min(least, record.loss);
      }
      records += static_cast<int64_t>(some.size());
      all.push_back(story.Records(some, attempt));
    }
    const int32_t points = 1 + static_cast<int32_t>(random() % 60);
    const auto thin = Thin(all, *PlanThinning(records, points));
    ExpectEverySequenceIsAnsweredFor(thin, story.last());
    EXPECT_EQ(Sum(Values(thin, v1::Column::RECORDS)), records);
    EXPECT_EQ(Sum(Values(thin, v1::Column::SKIPPED_RECORDS)), skipped);
    EXPECT_LE(static_cast<int64_t>(Values(thin, v1::Column::RECORDS).size()), points + points / 4 + attempt);
    double of_rows = kInf;
    for (const auto& value : Values(thin, v1::Column::LOSS, v1::Column::MINIMUM)) {
      if (value) of_rows = std::min(of_rows, *value);
    }
    EXPECT_EQ(of_rows, least);
    EXPECT_EQ(others, std::count_if(thin.begin(), thin.end(), [](const auto& s) { return !s.has_records(); }));
  }
}

}  // namespace
}  // namespace mantissa::server
