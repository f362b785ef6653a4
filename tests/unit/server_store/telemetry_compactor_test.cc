// Old rows become chunks, and nobody who reads can tell.
#include "server/store/telemetry_compactor.h"

#include <random>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "server/core/telemetry_segment.h"
#include "server/store/sqlite.h"
#include "server/store/sqlite_store.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

TelemetryRun Raw(int64_t first, int64_t last) { return {first, last, 100 * (last - first + 1), false}; }
TelemetryRun Chunk(int64_t first, int64_t last) { return {first, last, 10 * (last - first + 1), true}; }

std::pair<size_t, size_t> Chosen(const std::vector<TelemetryRun>& runs, bool whole) {
  const std::optional<RunsToCompact> chosen = ChooseRuns(runs, whole);
  return chosen ? std::pair(chosen->begin, chosen->end) : std::pair<size_t, size_t>(0, 0);
}

TEST(ChooseRuns, TakesAsManyAsAChunkHolds) {
  std::vector<TelemetryRun> runs;
  for (int i = 0; i < 100; ++i) runs.push_back(Raw(1 + 100 * i, 100 + 100 * i));
  EXPECT_EQ(Chosen(runs, false), std::pair(size_t{0}, size_t{40})) << "4000 of 4096 records";
  runs.resize(40);
  EXPECT_EQ(Chosen(runs, false), std::pair(size_t{0}, size_t{0})) << "another may yet fit";
  EXPECT_EQ(Chosen(runs, true), std::pair(size_t{0}, size_t{40}));
}

TEST(ChooseRuns, LeavesChunksAndWhatIsLargerThanOne) {
  EXPECT_EQ(Chosen({Chunk(1, 4'000), Chunk(4'001, 8'000)}, true), std::pair(size_t{0}, size_t{0}));
  EXPECT_EQ(Chosen({Chunk(1, 4'000), Raw(4'001, 4'010), Raw(4'011, 4'020)}, true), std::pair(size_t{1}, size_t{3}));
  EXPECT_EQ(Chosen({Raw(1, 20'000), Raw(20'001, 20'010)}, true), std::pair(size_t{1}, size_t{2}));
  EXPECT_EQ(Chosen({Raw(1, 10), Chunk(11, 4'000), Raw(4'001, 4'002)}, true), std::pair(size_t{0}, size_t{1}));
  EXPECT_EQ(Chosen({Raw(1, 4'096), Raw(4'097, 8'192)}, false), std::pair(size_t{0}, size_t{1}));
  EXPECT_EQ(Chosen({}, true), std::pair(size_t{0}, size_t{0}));
}

TEST(ChooseRuns, NoChunkReachesFartherThanAReaderLooks) {
  std::vector<TelemetryRun> runs;
  for (int i = 0; i < 200; ++i) runs.push_back(Raw(1 + 100 * i, 1 + 100 * i));
  const auto [begin, end] = Chosen(runs, false);
  EXPECT_EQ(begin, 0u);
  EXPECT_EQ(end, 82u) << "8192 sequences, most of them events'";
}

class TelemetryCompactorTest : public testing::Test {
 protected:
  ~TelemetryCompactorTest() override { writer_.Stop(); }

  // `rows` commits of ten records each, an event after every third. Sequences go on from what is there.
  void Write(int rows) {
    for (int i = 0; i < rows; ++i) {
      Changes changes;
      changes.telemetry.push_back(SampleRecords(1, next_, 10, 1, records_ + 1));
      next_ += 10;
      records_ += 10;
      if (i % 3 == 2) changes.telemetry.push_back(SampleEvent(1, next_++));
      Commit(changes);
    }
  }
  void Commit(const Changes& changes) {
    ASSERT_TRUE(store_->Commit(changes).ok());
    compactor_.OnCommitted(changes);
  }
  // The writer starts with the job as it is when it is first needed, for what changes it later does so behind its back.
  absl::Status Compact() {
    if (!std::exchange(started_, true)) {
      EXPECT_TRUE(writer_.Start().ok());
    }
    return compactor_.CompactOnce(writer_);
  }
  void End() {
    v1::Job job = SampleJob(1, v1::Job::SUCCEEDED);
    job.set_etag("2");
    Changes changes;
    changes.PutJob(job, "1", {});
    changes.telemetry.push_back(SampleEvent(1, next_++));
    Commit(changes);
  }
  // What a reader sees that begins at `from` and reads in small pages.
  std::vector<std::string> Seen(int64_t from, int64_t bytes = 500) {
    std::vector<std::string> seen;
    for (int64_t next = from; next < next_;) {
      const TelemetryPage page = store_->ReadTelemetry(SampleId(1), next, bytes).value();
      EXPECT_EQ(page.last_sequence, next_ - 1);
      EXPECT_FALSE(page.segments.empty()) << next;
      if (page.segments.empty()) break;
      for (const v1::Segment& segment : page.segments) {
        EXPECT_EQ(segment.first_sequence(), next);
        next = LastSequence(segment) + 1;
        if (!segment.has_records()) {
          seen.push_back(segment.SerializeAsString());
          continue;
        }
        for (int row = 0; row < segment.count(); ++row) {
          seen.push_back("record " + std::to_string(segment.first_attempt_sequence() + row) + ": " +
                         std::to_string(segment.records().columns(0).integers().values(row)));
        }
      }
    }
    return seen;
  }
  std::vector<TelemetryRun> Runs() { return store_->ListTelemetryRuns(SampleId(1), 1, 100'000).value(); }

  TempFolder folder_;
  process::FakeClock clock_;
  std::unique_ptr<SqliteStore> store_ = [this] {
    auto store = SqliteStore::Open(folder_ / "jobs.db", clock_).value();
    Changes changes = NewJob(1);
    EXPECT_TRUE(store->Commit(changes).ok());
    return store;
  }();
  int64_t next_ = 1, records_ = 0;
  bool started_ = false;
  static std::unique_ptr<Scheduler> NewScheduler() {
    return std::make_unique<Scheduler>(SchedulerOptions{},
                                       IdSource{[](auto) { return SampleId(9); }, [] { return std::string(16, 't'); }});
  }
  GroupCommit writer_{*store_, NewScheduler, clock_, {}};
  TelemetryCompactor compactor_{*store_, clock_, {.pause = std::chrono::milliseconds(0)}};
};

// Records of a reader that reads it all, from `from` on, with thinned rows for what they stand for; how many rows there
// are; and how many records were kept one by one.
struct Told {
  int64_t records = 0, rows = 0, whole = 0;
  std::vector<int64_t> events;
};

class ThinningCompactorTest : public TelemetryCompactorTest {
 protected:
  // `commits` of a hundred records each with a loss that nobody could guess, an event after every tenth.
  void WriteLosses(int commits) {
    for (int i = 0; i < commits; ++i) {
      Changes changes;
      TelemetryWrite& records = changes.telemetry.emplace_back(SampleRecords(1, next_, 100, 1, records_ + 1));
      v1::Column& loss = *records.segment.mutable_records()->add_columns();
      loss.set_standard(v1::Column::LOSS);
      for (int row = 0; row < 100; ++row)
        loss.mutable_doubles()->add_values(std::generate_canonical<double, 53>(random_));
      next_ += 100;
      records_ += 100;
      if (i % 10 == 9) changes.telemetry.push_back(SampleEvent(1, next_++));
      Commit(changes);
    }
  }
  // As a server that has just started.
  void CompactKeeping(int64_t full_records) {
    if (!std::exchange(started_, true)) {
      EXPECT_TRUE(writer_.Start().ok());
    }
    TelemetryCompactor compactor(*store_, clock_,
                                 {.pause = std::chrono::milliseconds(0), .full_records = full_records});
    // What has not ended is due when it grows.
    Changes grown;
    grown.telemetry.push_back(SampleRecords(1, 1, 4'096));
    compactor.OnCommitted(grown);
    EXPECT_TRUE(compactor.CompactOnce(writer_).ok());
  }
  Told Read(int64_t from = 1) {
    Told told;
    for (int64_t next = from; next < next_;) {
      const TelemetryPage page = store_->ReadTelemetry(SampleId(1), next, 500).value();
      EXPECT_FALSE(page.segments.empty()) << next;
      if (page.segments.empty()) break;
      for (const v1::Segment& segment : page.segments) {
        EXPECT_EQ(segment.first_sequence(), next);
        next = LastSequence(segment) + 1;
        if (segment.has_event()) told.events.push_back(segment.first_sequence());
        if (!segment.has_records()) continue;
        told.rows += segment.count();
        for (int row = 0; row < segment.count(); ++row) {
          const std::optional<double> records = ValueAt(segment.records(), v1::Column::RECORDS, row);
          EXPECT_EQ(records.has_value(), segment.through_sequence() > 0);
          told.records += static_cast<int64_t>(records.value_or(1));
          told.whole += !records;
        }
        EXPECT_EQ(ValueAt(segment.records(), v1::Column::ITERATION, segment.count() - 1),
                  segment.first_attempt_sequence() + LastSequence(segment) - segment.first_sequence());
      }
    }
    return told;
  }
  int64_t Bytes() {
    int64_t bytes = 0;
    for (const TelemetryRun& run : Runs()) bytes += run.bytes;
    return bytes;
  }

  std::mt19937_64 random_{20261127};
};

TEST_F(ThinningCompactorTest, WhatLiesFarBehindTheNewestEntryIsThinnedAndTheNewestRecordsAreNot) {
  WriteLosses(250);
  const Told before = Read();
  CompactKeeping(10'000);
  const Told after = Read();
  EXPECT_EQ(after.records, before.records) << "each is stood for once";
  EXPECT_EQ(after.events, before.events);
  EXPECT_GE(after.whole, 10'000 - 11) << "the newest ten thousand entries but for the events among them";
  EXPECT_LE(after.whole, 10'000 + 4'096);
  EXPECT_LE(after.rows - after.whole, (after.records - after.whole) / 100);
  std::vector<TelemetryRun> runs = Runs();
  EXPECT_TRUE(runs.front().thinned);
  EXPECT_FALSE(runs.back().thinned);
  for (const TelemetryRun& run : runs) EXPECT_TRUE(run.compact || !run.thinned);
}

TEST_F(ThinningCompactorTest, AReaderMayBeginAnywhereAndMissesNothing) {
  WriteLosses(90);
  CompactKeeping(1);
  const Told whole = Read();
  ASSERT_LT(whole.whole, whole.records);
  for (int64_t from = 1; from < next_; from += from < 200 || from > next_ - 200 ? 1 : 97) {
    const Told told = Read(from);
    const auto events = std::count_if(whole.events.begin(), whole.events.end(), [&](int64_t at) { return at < from; });
    EXPECT_EQ(told.records, whole.records - (from - 1 - events)) << from;
  }
}

TEST_F(ThinningCompactorTest, ASecondRoundFindsNothingToDoAndALaterOneWhatHasGrownOld) {
  WriteLosses(200);
  CompactKeeping(10'000);
  const int64_t bytes = Bytes();
  const Told once = Read();
  CompactKeeping(10'000);
  EXPECT_EQ(Bytes(), bytes);
  CompactKeeping(0);
  EXPECT_EQ(Bytes(), bytes) << "what is gone is gone, and no more goes";
  WriteLosses(100);
  CompactKeeping(10'000);
  const Told later = Read();
  EXPECT_EQ(later.records, once.records + 10'000);
  EXPECT_GT(later.rows - later.whole, once.rows - once.whole);
}

TEST_F(ThinningCompactorTest, WhatIsOldBeforeItIsAChunkIsThinnedOnceItIsOne) {
  EXPECT_TRUE(writer_.Start().ok());
  started_ = true;
  TelemetryCompactor compactor(*store_, clock_, {.pause = std::chrono::milliseconds(0), .full_records = 500});
  for (int i = 0; i < 6; ++i) {
    WriteLosses(20);
    Changes grown;
    grown.telemetry.push_back(SampleRecords(1, 1, 4'096));
    compactor.OnCommitted(grown);
    EXPECT_TRUE(compactor.CompactOnce(writer_).ok());
  }
  EXPECT_TRUE(Runs().front().thinned);
  EXPECT_LE(Read().whole, 500 + 2 * 4'096);
}

TEST_F(ThinningCompactorTest, AChunkWhoseCommitFailedIsThinnedTheNextTime) {
  WriteLosses(100);
  CompactKeeping(0);
  ASSERT_TRUE(Runs().front().compact);
  writer_.Stop();
  TelemetryCompactor compactor(*store_, clock_, {.pause = std::chrono::milliseconds(0), .full_records = 500});
  Changes grown;
  grown.telemetry.push_back(SampleRecords(1, 1, 4'096));
  compactor.OnCommitted(grown);
  EXPECT_FALSE(compactor.CompactOnce(writer_).ok());
  EXPECT_FALSE(Runs().front().thinned);
  GroupCommit next_writer(*store_, NewScheduler, clock_, {});
  ASSERT_TRUE(next_writer.Start().ok());
  EXPECT_TRUE(compactor.CompactOnce(next_writer).ok());
  EXPECT_TRUE(Runs().front().thinned);
  next_writer.Stop();
}

TEST_F(ThinningCompactorTest, OfAJobThatHasEndedTheNewestStayForGood) {
  WriteLosses(150);
  End();
  CompactKeeping(6'000);
  const Told told = Read();
  EXPECT_EQ(told.records, 15'000);
  EXPECT_GE(told.whole, 6'000 - 7);
  EXPECT_LT(told.whole, 15'000);
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), IsEmpty());
}

TEST_F(ThinningCompactorTest, WhatWouldTakeNoLessThinnedIsLeftAsItIs) {
  Write(500);  // an iteration a record, which packs well, and an event after every 30
  CompactKeeping(1);
  EXPECT_EQ(Read().whole, 5'000);
}

TEST_F(ThinningCompactorTest, WithoutALimitEveryRecordIsKept) {
  WriteLosses(150);
  End();
  CompactKeeping(0);
  EXPECT_EQ(Read().whole, 15'000);
}

TEST_F(TelemetryCompactorTest, OfAJobThatRunsWholeChunksAreMadeAndTheNewestRowsStay) {
  Write(1'000);
  const std::vector<std::string> before = Seen(1);
  ASSERT_THAT(Runs(), SizeIs(1'000));
  ASSERT_TRUE(Compact().ok());
  const std::vector<TelemetryRun> runs = Runs();
  EXPECT_TRUE(runs.front().compact);
  EXPECT_FALSE(runs.back().compact);
  EXPECT_EQ(std::count_if(runs.begin(), runs.end(), [](const auto& run) { return run.compact; }), 2);
  EXPECT_EQ(Seen(1), before);
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), IsEmpty()) << "it has not ended";
  // What a server that starts now must know.
  const std::vector<LiveJob> live = store_->Load().value().jobs;
  ASSERT_THAT(live, SizeIs(1));
  EXPECT_EQ(live[0].last_sequence, next_ - 1);
  EXPECT_THAT(live[0].durable_attempt_sequences, testing::ElementsAre(std::pair<int32_t, int64_t>(1, records_)));
}

TEST_F(TelemetryCompactorTest, AJobThatGoesOnIsGoneOnWith) {
  Write(500);
  ASSERT_TRUE(Compact().ok());
  Write(500);
  ASSERT_TRUE(Compact().ok());
  const std::vector<TelemetryRun> runs = Runs();
  EXPECT_EQ(std::count_if(runs.begin(), runs.end(), [](const auto& run) { return run.compact; }), 2);
  EXPECT_THAT(Seen(1), SizeIs(static_cast<size_t>(next_ - 1)));
}

TEST_F(TelemetryCompactorTest, OfAJobThatHasEndedAllIsMadeSmallOnceAndForGood) {
  Write(70);
  const std::vector<std::string> before = Seen(1);
  End();
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), SizeIs(1));
  ASSERT_TRUE(Compact().ok());
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), IsEmpty());
  ASSERT_THAT(Runs(), SizeIs(1));
  EXPECT_TRUE(Runs()[0].compact);
  std::vector<std::string> after = Seen(1);
  after.pop_back();  // its end
  EXPECT_EQ(after, before);
  // Events are found as before.
  EXPECT_THAT(store_->ListEvents(SampleId(1), 1, v1::JobEvent::INFO, 1'000)->segments, SizeIs(24));
  EXPECT_EQ(store_->CountEvents(SampleId(1), 1, next_ - 1).value(), 24);
}

TEST_F(TelemetryCompactorTest, AReaderMayBeginAnywhereInAChunk) {
  Write(70);
  End();
  const std::vector<std::string> whole = Seen(1);
  ASSERT_TRUE(Compact().ok());
  for (int64_t from = 1; from < next_; ++from) {
    for (const int64_t bytes : {int64_t{0}, int64_t{1} << 20}) {
      EXPECT_EQ(Seen(from, bytes), std::vector<std::string>(whole.begin() + (from - 1), whole.end())) << from;
    }
  }
}

TEST_F(TelemetryCompactorTest, AJobWithoutRecordsIsNoneOfItsBusiness) {
  End();
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), IsEmpty());
  EXPECT_TRUE(Compact().ok());
  EXPECT_THAT(Runs(), IsEmpty());
}

TEST_F(TelemetryCompactorTest, DamagedRowsAreLeftAndToldAndHoldNobodyUp) {
  Write(70);
  End();
  {
    auto other = SqliteConnection::Open(folder_ / "jobs.db", SqliteConnection::Mode::kReadWriteCreate).value();
    ASSERT_TRUE(other->Execute("UPDATE telemetry SET segments = x'0aff' WHERE first_sequence = 11").ok());
  }
  const absl::Status read = store_->ReadTelemetry(SampleId(1), 11, 1).status();
  EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(read.message()), testing::HasSubstr(SampleId(1)));
  EXPECT_THAT(std::string(read.message()), testing::HasSubstr("sequence 11"));
  EXPECT_TRUE(Compact().ok());
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), IsEmpty());
  EXPECT_TRUE(store_->ReadTelemetry(SampleId(1), 21 + 2, 1).ok()) << "the rest can be read";
}

TEST_F(TelemetryCompactorTest, ADamagedChunkIsToldByJobAndSequence) {
  Write(70);
  End();
  ASSERT_TRUE(Compact().ok());
  auto other = SqliteConnection::Open(folder_ / "jobs.db", SqliteConnection::Mode::kReadWriteCreate).value();
  ASSERT_TRUE(other
                  ->Execute("UPDATE telemetry SET segments = substr(segments, 1, length(segments) - 1) WHERE "
                            "first_sequence = 1")
                  .ok());
  const absl::Status read = store_->ReadTelemetry(SampleId(1), 300, 1).status();
  EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(read.message()), testing::HasSubstr("job " + SampleId(1) + ", sequence 1)"));
}

TEST_F(TelemetryCompactorTest, ACommitThatFailsIsToldAndTriedAgain) {
  Write(70);
  End();
  writer_.Stop();
  EXPECT_FALSE(compactor_.CompactOnce(writer_).ok());
  EXPECT_THAT(Runs(), SizeIs(70));
  EXPECT_THAT(store_->ListUncompactedJobs("", 10).value(), SizeIs(1));
}

}  // namespace
}  // namespace mantissa::server
