// What every JobStore promises of telemetry.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "job_store_conformance.h"
#include "server/core/telemetry_segment.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;

class JobStoreTelemetry : public JobStoreConformance {};

TEST_P(JobStoreTelemetry, TelemetryIsReadFromAnySequence) {
  Changes changes = NewJob(1);
  changes.telemetry = {SampleEvent(1, 1), SampleRecords(1, 2, 4), SampleRecords(1, 6, 4, 1, 5), SampleEvent(1, 10)};
  Commit(changes);
  Changes more;
  more.telemetry = {SampleRecords(1, 11, 2, 1, 9)};
  Commit(more);
  for (int64_t from = 0; from <= 14; ++from) {
    const TelemetryPage page = store_->ReadTelemetry(SampleId(1), from, 1 << 20).value();
    EXPECT_EQ(page.last_sequence, 12);
    int64_t next = std::max<int64_t>(from, 1);
    for (const v1::Segment& segment : page.segments) {
      EXPECT_EQ(segment.first_sequence(), next);
      next += segment.count();
      if (segment.has_records()) {
        EXPECT_EQ(segment.records().columns(0).integers().values_size(), segment.count());
        EXPECT_EQ(segment.records().columns(0).integers().values(0), segment.first_attempt_sequence());
      }
    }
    EXPECT_EQ(next, std::max<int64_t>(from, 13));
  }
  EXPECT_TRUE(store_->ReadTelemetry("nobody", 1, 1000)->segments.empty());
}

TEST_P(JobStoreTelemetry, AReadOfTelemetryIsBoundedAndGoesOn) {
  Changes changes = NewJob(1);
  for (int i = 0; i < 100; ++i) {
    changes.telemetry.push_back(SampleEvent(1, 2 * i + 1));
    changes.telemetry.push_back(SampleRecords(1, 2 * i + 2, 1, 1, i + 1));
  }
  Commit(changes);
  int64_t next = 1;
  int reads = 0;
  while (next <= 200) {
    const TelemetryPage page = store_->ReadTelemetry(SampleId(1), next, 100).value();
    ASSERT_FALSE(page.segments.empty());
    EXPECT_LT(page.segments.size(), 50u);
    for (const v1::Segment& segment : page.segments) {
      ASSERT_EQ(segment.first_sequence(), next);
      next += segment.count();
    }
    ++reads;
  }
  EXPECT_GT(reads, 3);
}

// Records 1 to 4 in two rows, an event, records in a third row, two events.
Changes RowsToCompact() {
  Changes changes = NewJob(1, v1::Job::SUCCEEDED);
  changes.telemetry = {SampleRecords(1, 1, 4),
                       SampleEvent(1, 5),
                       SampleRecords(1, 6, 3, 1, 5),
                       SampleEvent(1, 9),
                       SampleRecords(1, 10, 2, 1, 8),
                       SampleEvent(1, 12),
                       SampleEvent(1, 13)};
  return changes;
}

TelemetryCompaction Compaction(const std::vector<v1::Segment>& segments) {
  return {SampleId(1), segments.front().first_sequence(), LastSequence(segments.back()),
          static_cast<int64_t>(segments.size()), EncodeTelemetryChunk(segments)};
}

TEST_P(JobStoreTelemetry, AChunkTakesThePlaceOfRowsAndReadersSeeTheSame) {
  const Changes rows = RowsToCompact();
  Commit(rows);
  Changes compact;
  compact.compactions.push_back(
      Compaction({rows.telemetry[0].segment, rows.telemetry[2].segment, rows.telemetry[4].segment}));
  EXPECT_EQ(store_->ListTelemetryRuns(SampleId(1), 1, 10)->size(), 3u);
  Commit(compact);
  const std::vector<TelemetryRun> runs = store_->ListTelemetryRuns(SampleId(1), 1, 10).value();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_TRUE(runs[0].compact);
  EXPECT_EQ(runs[0].first_sequence, 1);
  EXPECT_EQ(runs[0].last_sequence, 11);
  for (int64_t from = 1; from <= 14; ++from) {
    const TelemetryPage page = store_->ReadTelemetry(SampleId(1), from, 1 << 20).value();
    EXPECT_EQ(page.last_sequence, 13);
    int64_t next = from;
    for (const v1::Segment& segment : page.segments) {
      EXPECT_EQ(segment.first_sequence(), next) << "from " << from;
      next += segment.count();
      EXPECT_EQ(segment.has_event(), next == 6 || next == 10 || next > 12) << next;
      if (segment.has_event()) continue;
      EXPECT_EQ(segment.records().columns(0).integers().values(0), segment.first_attempt_sequence());
    }
    EXPECT_EQ(next, 14);
    // As little of it as is asked for, but something: one segment, and an event that lies before it.
    const TelemetryPage little = store_->ReadTelemetry(SampleId(1), from, 1).value();
    ASSERT_LE(little.segments.size(), 2u);
    ASSERT_EQ(little.segments.empty(), from > 13);
    for (size_t i = 0; i < little.segments.size(); ++i) {
      EXPECT_EQ(little.segments[i].SerializeAsString(), page.segments[i].SerializeAsString());
    }
  }
  EXPECT_EQ(store_->ListEvents(SampleId(1), 1, v1::JobEvent::INFO, 10)->segments.size(), 4u);
  EXPECT_EQ(store_->CountEvents(SampleId(1), 1, 13).value(), 4);
  EXPECT_EQ(store_->CountEvents(SampleId(1), 5, 12).value(), 3);
  EXPECT_EQ(store_->CountEvents(SampleId(1), 6, 8).value(), 0);
}

TEST_P(JobStoreTelemetry, AChunkIsThinnedInItsPlaceAndAReaderMayBeginInTheMidstOfARow) {
  const Changes rows = RowsToCompact();
  Commit(rows);
  const std::vector<v1::Segment> records = {rows.telemetry[0].segment, rows.telemetry[2].segment,
                                            rows.telemetry[4].segment};
  Changes compact;
  compact.compactions.push_back(Compaction(records));
  Commit(compact);
  EXPECT_FALSE(store_->ListTelemetryRuns(SampleId(1), 1, 10)->front().thinned);
  std::vector<v1::Segment> thinned;
  for (const v1::Segment& segment : records) {
    v1::Segment& row = thinned.emplace_back(FromSequence(segment, LastSequence(segment)));
    row.set_first_sequence(segment.first_sequence());
    row.set_first_attempt_sequence(segment.first_attempt_sequence());
    row.set_through_sequence(LastSequence(segment));
    v1::Column& column = *row.mutable_records()->add_columns();
    column.set_standard(v1::Column::RECORDS);
    column.mutable_integers()->add_values(segment.count());
  }
  compact.compactions[0] = {SampleId(1), 1, 11, 1, EncodeTelemetryChunk(thinned, ChunkContent::kThinned)};
  Commit(compact);
  const std::vector<TelemetryRun> runs = store_->ListTelemetryRuns(SampleId(1), 1, 10).value();
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_TRUE(runs[0].compact && runs[0].thinned);
  EXPECT_EQ(runs[0].first_sequence, 1);
  EXPECT_EQ(runs[0].last_sequence, 11);
  for (int64_t from = 1; from <= 13; ++from) {
    int64_t next = from;
    while (next <= 13) {
      const TelemetryPage page = store_->ReadTelemetry(SampleId(1), next, 1).value();
      EXPECT_EQ(page.last_sequence, 13);
      ASSERT_FALSE(page.segments.empty());
      for (const v1::Segment& segment : page.segments) {
        EXPECT_EQ(segment.first_sequence(), next) << "from " << from;
        next = LastSequence(segment) + 1;
        EXPECT_EQ(segment.has_event(), next == 6 || next == 10 || next > 12) << next;
        if (segment.has_event()) continue;
        EXPECT_EQ(segment.count(), 1);
        EXPECT_EQ(ValueAt(segment.records(), v1::Column::RECORDS, 0), next - segment.first_sequence());
        EXPECT_EQ(ValueAt(segment.records(), v1::Column::ITERATION, 0), LastAttemptSequence(segment));
      }
    }
  }
  EXPECT_EQ(store_->CountEvents(SampleId(1), 1, 13).value(), 4);
}

TEST_P(JobStoreTelemetry, AChunkOfRowsThatAreNoLongerThoseIsLeftOut) {
  const Changes rows = RowsToCompact();
  Commit(rows);
  Changes compact;
  compact.compactions.push_back(Compaction({rows.telemetry[0].segment, rows.telemetry[2].segment}));
  Commit(compact);
  EXPECT_EQ(store_->ListTelemetryRuns(SampleId(1), 1, 10)->size(), 2u);
  Commit(compact);
  Changes wrong;
  wrong.compactions.push_back(
      Compaction({rows.telemetry[0].segment, rows.telemetry[2].segment, rows.telemetry[4].segment}));
  Commit(wrong);
  EXPECT_EQ(store_->ListTelemetryRuns(SampleId(1), 1, 10)->size(), 2u) << "nothing is lost or there twice";
  Changes nobody = compact;
  nobody.compactions[0].job_id = SampleId(7);
  Commit(nobody);
  EXPECT_TRUE(store_->ListTelemetryRuns(SampleId(7), 1, 10)->empty());
  EXPECT_EQ(store_->ListTelemetryRuns(SampleId(1), 2, 10)->size(), 1u) << "rows that begin there or later";
  EXPECT_EQ(store_->ListTelemetryRuns(SampleId(1), 1, 1)->size(), 1u);
}

TEST_P(JobStoreTelemetry, EndedJobsWithRecordsAreToBeCompactedUntilTheyWere) {
  Commit(RowsToCompact());
  Changes others = NewJob(2, v1::Job::RUNNING);
  others.PutJob(SampleJob(3, v1::Job::FAILED), "", {});
  others.PutJob(SampleJob(4, v1::Job::FAILED), "", {});
  others.telemetry = {SampleRecords(2, 1, 3), SampleEvent(3, 1), SampleRecords(4, 1, 1)};
  Commit(others);
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), ElementsAre(SampleId(1), SampleId(4)));
  EXPECT_THAT(store_->ListUncompactedJobs("", 1).value(), ElementsAre(SampleId(1)));
  EXPECT_THAT(store_->ListUncompactedJobs(SampleId(1), 10).value(), ElementsAre(SampleId(4)));
  Changes done;
  done.compacted_jobs = {SampleId(1)};
  Commit(done);
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), ElementsAre(SampleId(4)));
}

TEST_P(JobStoreTelemetry, EventsAreFoundBySeverity) {
  Changes changes = NewJob(1);
  changes.telemetry = {SampleEvent(1, 1, v1::JobEvent::INFO), SampleRecords(1, 2, 3),
                       SampleEvent(1, 5, v1::JobEvent::ERROR), SampleEvent(1, 6, v1::JobEvent::WARNING)};
  Commit(changes);
  auto sequences = [&](int64_t from, v1::JobEvent::Severity severity, int32_t limit) {
    std::vector<int64_t> result;
    const TelemetryPage page = store_->ListEvents(SampleId(1), from, severity, limit).value();
    EXPECT_EQ(page.last_sequence, 6);
    for (const v1::Segment& segment : page.segments) result.push_back(segment.first_sequence());
    return result;
  };
  EXPECT_THAT(sequences(1, v1::JobEvent::SEVERITY_UNSPECIFIED, 10), ElementsAre(1, 5, 6));
  EXPECT_THAT(sequences(1, v1::JobEvent::WARNING, 10), ElementsAre(5, 6));
  EXPECT_THAT(sequences(2, v1::JobEvent::INFO, 1), ElementsAre(5));
  EXPECT_THAT(sequences(6, v1::JobEvent::ERROR, 10), ElementsAre());
}

INSTANTIATE_TEST_SUITE_P(Stores, JobStoreTelemetry, testing::ValuesIn(EveryStore()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace mantissa::server
