// A replay in fewer rows, and what follows it whole.
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "proto/spec/column_values.h"
#include "server/core/telemetry_segment.h"
#include "server/core/thinning.h"
#include "server/store/telemetry_chunk.h"
#include "server/telemetry/cursor.h"
#include "server/telemetry/watch.h"
#include "tests/unit/server_telemetry/watched_job.h"

namespace mantissa::server {
namespace {

using spec::FindColumn;
using testing::ElementsAre;

// What a client of a thinned watch has of its frames; checks that they answer for everything once and in order.
struct Thinned {
  explicit Thinned(Watch& watch, int64_t first = 1) : next(first) {
    while (true) {
      absl::StatusOr<std::optional<WatchFrame>> frame = watch.Next();
      EXPECT_TRUE(frame.ok()) << frame.status();
      if (!frame.ok() || !frame->has_value()) break;
      Take(OnTheWire(**frame));
    }
  }

  void Take(const v1::WatchJobResponse& frame) {
    if (frame.has_covers()) {
      EXPECT_EQ(frame.covers().from(), next) << "covers are contiguous";
      next = frame.covers().to() + 1;
    }
    for (const v1::Segment& segment : frame.segments()) {
      EXPECT_GT(segment.first_sequence(), through) << "in order";
      through = LastSequence(segment);
      EXPECT_LT(through, next) << "what is sent is covered";
      if (segment.has_event()) events.push_back(segment.first_sequence());
      if (!segment.has_records()) continue;
      rows += segment.count();
      const v1::Column* const weights = FindColumn(segment.records(), v1::Column::RECORDS);
      EXPECT_EQ(weights != nullptr, segment.through_sequence() > 0);
      for (int32_t row = 0; row < segment.count(); ++row) {
        records += weights == nullptr ? 1 : weights->integers().values(row);
      }
      losses.push_back(ValueAt(segment.records(), v1::Column::LOSS, segment.count() - 1).value_or(-1));
    }
    frames.push_back(frame);
  }

  int64_t next, through = 0;
  int64_t rows = 0, records = 0;
  std::vector<int64_t> events;
  std::vector<double> losses;  // the last of each segment
  std::vector<v1::WatchJobResponse> frames;
};

// 2,000 records, an event after every 400.
void Fill(WatchedJob& world) {
  for (int i = 0; i < 20; ++i) {
    world.Commit(world.RecordChanges(100));
    if (i % 4 == 3) world.Commit(world.EventChanges());
  }
}

TEST(ThinnedWatchTest, ReplaysInFewRowsAndEverythingIsAnsweredFor) {
  WatchedJob world;
  Fill(world);
  v1::WatchJobRequest request = world.Request();
  request.set_max_points(50);
  auto watch = world.Open(request);
  const Thinned seen(*watch);
  EXPECT_EQ(seen.rows, 50);
  EXPECT_EQ(seen.records, 2'000);
  EXPECT_THAT(seen.events, ElementsAre(401, 802, 1'203, 1'604, 2'005));
  EXPECT_EQ(seen.next, world.last_sequence() + 1);
  EXPECT_TRUE(seen.frames.back().live());
  EXPECT_EQ(seen.losses.back(), 2'004) << "the newest record is the last of a row";
}

TEST(ThinnedWatchTest, GoesOnFromACursorInTheMidstOfWhatTheStoreHasThinnedSince) {
  WatchedJob world;
  Fill(world);
  // What a compactor leaves of the first 400 once they are old.
  ThinningPlan plan;
  plan.records_per_row = 128;
  Thinning thinning(plan);
  int64_t rows = 0;
  const TelemetryPage page = world.store->ReadTelemetry(world.job.id(), 1, 1'000'000).value();
  for (const v1::Segment& segment : page.segments) {
    if (LastSequence(segment) > 400) break;
    thinning.Add(segment);
    ++rows;
  }
  thinning.Finish();
  Changes changes;
  changes.compactions.push_back(
      {world.job.id(), 1, 400, rows, EncodeTelemetryChunk(thinning.Take(), ChunkContent::kThinned)});
  world.Store(changes);
  for (const int64_t from : {int64_t{1}, int64_t{2}, int64_t{128}, int64_t{129}, int64_t{200}, int64_t{400}}) {
    v1::WatchJobRequest request = world.Request();
    request.set_cursor(EncodeCursor(world.job.id(), from));
    const Thinned seen(*world.Open(request), from);
    EXPECT_EQ(seen.records, 2'000 - (from - 1)) << from;
    EXPECT_EQ(seen.next, world.last_sequence() + 1);
    EXPECT_EQ(seen.rows, 1'600 + (from < 129 ? 4 : from < 257 ? 3 : 1)) << from;
  }
}

TEST(ThinnedWatchTest, ReadsTheStoreThoughTheEntriesLieInTheRingOfAnother) {
  WatchedJob world;
  v1::WatchJobRequest request = world.Request();
  auto other = world.Open(request);
  Fill(world);
  auto whole = world.Open(request);
  EXPECT_FALSE(whole->ReadsStore()) << "all of them are there";
  request.set_max_points(50);
  auto thinned = world.Open(request);
  EXPECT_TRUE(thinned->ReadsStore());
  const Thinned seen(*thinned);
  EXPECT_FALSE(thinned->ReadsStore()) << "the rest is live";
}

TEST(ThinnedWatchTest, WhatComesAfterTheReplayIsWhole) {
  WatchedJob world;
  Fill(world);
  v1::WatchJobRequest request = world.Request();
  request.set_max_points(50);
  auto watch = world.Open(request);
  // These are durable before the replay has begun, but not before the watch.
  world.Commit(world.RecordChanges(300));
  const Thinned seen(*watch);
  EXPECT_EQ(seen.rows, 50 + 300);
  EXPECT_EQ(seen.records, 2'300);
  EXPECT_EQ(seen.next, world.last_sequence() + 1);
}

TEST(ThinnedWatchTest, OfFewerRecordsThanPointsEveryOneIsSentHoweverManyEventsThereAre) {
  WatchedJob world;
  for (int i = 0; i < 30; ++i) world.Commit(i % 3 == 0 ? world.RecordChanges(2) : world.EventChanges());
  v1::WatchJobRequest request = world.Request();
  request.set_max_points(20);
  auto watch = world.Open(request);
  const Thinned seen(*watch);
  EXPECT_EQ(seen.rows, 20);
  for (const v1::WatchJobResponse& frame : seen.frames) {
    for (const v1::Segment& segment : frame.segments()) EXPECT_EQ(segment.through_sequence(), 0);
  }
}

TEST(ThinnedWatchTest, EveryFramesCursorResumesAfterIt) {
  WatchedJob world;
  for (int i = 0; i < 60; ++i) {
    world.Commit(world.RecordChanges(4'000));
    if (i % 3 == 2) world.Commit(world.EventChanges());
  }
  v1::WatchJobRequest request = world.Request();
  request.set_max_points(30);
  auto watch = world.Open(request);
  const Thinned whole(*watch);
  ASSERT_GT(whole.frames.size(), 5u);
  int64_t before = 0;  // records in the frames so far
  for (const v1::WatchJobResponse& frame : whole.frames) {
    for (const v1::Segment& segment : frame.segments()) {
      if (const v1::Column* weights = FindColumn(segment.records(), v1::Column::RECORDS)) {
        for (const int64_t records : weights->integers().values()) before += records;
      }
    }
    for (const int32_t points : {0, 1, 30}) {
      v1::WatchJobRequest rest = world.Request();
      rest.set_cursor(frame.next_cursor());
      rest.set_max_points(points);
      auto resumed = world.Open(rest);
      const Thinned seen(*resumed, frame.has_covers() ? frame.covers().to() + 1 : 1);
      EXPECT_EQ(before + seen.records, 240'000) << "each record once";
      EXPECT_EQ(seen.next, world.last_sequence() + 1);
    }
  }
}

TEST(ThinnedWatchTest, FiltersApply) {
  WatchedJob world;
  Fill(world);
  v1::WatchJobRequest request = world.Request();
  request.set_max_points(10);
  request.mutable_filter()->add_columns(v1::Column::GRAD_NORM);
  auto without = world.Open(request);
  const Thinned none(*without);
  EXPECT_EQ(none.rows, 0);
  EXPECT_EQ(none.events.size(), 5u);
  EXPECT_EQ(none.next, world.last_sequence() + 1);

  request.mutable_filter()->add_columns(v1::Column::LOSS);
  auto with = world.Open(request);
  EXPECT_EQ(Thinned(*with).records, 2'000);

  request.mutable_filter()->set_events_only(true);
  auto events = world.Open(request);
  EXPECT_EQ(Thinned(*events).events.size(), 5u);
}

TEST(ThinnedWatchTest, OfAnEndedJobEndsAndReplayOnlyStops) {
  WatchedJob world;
  Fill(world);
  world.Commit(world.StateChanges(v1::Job::SUCCEEDED));
  v1::WatchJobRequest request = world.Request();
  request.set_max_points(1);
  request.set_replay_only(true);
  auto watch = world.Open(request);
  const Thinned seen(*watch);
  EXPECT_EQ(seen.rows, 1) << "one point, whatever happened meanwhile";
  EXPECT_EQ(seen.records, 2'000);
  EXPECT_TRUE(seen.frames.back().end());
}

}  // namespace
}  // namespace mantissa::server
