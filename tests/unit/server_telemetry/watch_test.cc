#include "server/telemetry/watch.h"

#include <cmath>
#include <limits>
#include <random>

#include "gtest/gtest.h"

#include "server/core/errors.h"
#include "server/store/telemetry_chunk.h"
#include "server/telemetry/cursor.h"
#include "tests/unit/server_telemetry/watched_job.h"

namespace mantissa::server {
namespace {

TEST(WatchTest, ReplaysWhatIsStoredAndThenFollows) {
  WatchedJob world;
  world.Commit(world.RecordChanges(3));
  world.Commit(world.EventChanges());
  auto sleeper = std::make_shared<Sleeper>();
  auto watch = world.Open(world.Request(), sleeper);
  Client client(*watch);
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 4));
  EXPECT_TRUE(client.frames.front().has_job());
  EXPECT_FALSE(client.frames.front().job().has_spec()) << "BASIC view";
  EXPECT_TRUE(client.frames.back().live());

  EXPECT_EQ(sleeper->wakes, 0);
  world.Commit(world.RecordChanges(2));
  EXPECT_EQ(sleeper->wakes, 1);
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 6));
  EXPECT_FALSE(client.frames.back().has_job()) << "nothing about the job has changed";
}

TEST(WatchTest, OfAJobWithoutEntriesSaysSoAtOnce) {
  WatchedJob world;
  auto watch = world.Open(world.Request());
  Client client(*watch);
  client.ReadAll();
  ASSERT_EQ(client.frames.size(), 1u);
  EXPECT_TRUE(client.frames[0].live());
  EXPECT_EQ(client.frames[0].job().state(), v1::Job::QUEUED);
  EXPECT_FALSE(client.frames[0].has_covers());
  EXPECT_FALSE(client.frames[0].end());
}

TEST(WatchTest, ShowsNothingThatWasNotHeardAsDurable) {
  WatchedJob world;
  auto watch = world.Open(world.Request());
  Client client(*watch);
  client.ReadAll();
  const Changes changes = world.RecordChanges(2);
  client.ReadAll();
  EXPECT_TRUE(client.sequences.empty());
  world.Commit(changes);
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 2));
}

TEST(WatchTest, FromAnyCursorGoesOnWithTheSameEntries) {
  WatchedJob world;
  for (int i = 0; i < 12; ++i) {
    world.Commit(world.RecordChanges(1 + i % 4));
    if (i % 3 == 0) world.Commit(world.EventChanges());
  }
  const int64_t last = world.last_sequence();
  for (int64_t next = 1; next <= last + 1; ++next) {
    v1::WatchJobRequest request = world.Request();
    request.set_cursor(EncodeCursor(world.job.id(), next));
    auto watch = world.Open(request);
    Client client(*watch, next);
    client.ReadAll();
    EXPECT_EQ(client.sequences, Range(next, last)) << "from " << next;
    EXPECT_EQ(client.frames.back().next_cursor(), EncodeCursor(world.job.id(), last + 1));
  }
}

TEST(WatchTest, EveryFramesCursorResumesAfterItWhateverIsFiltered) {
  WatchedJob world;
  for (int i = 0; i < 20; ++i) world.Commit(i % 5 == 4 ? world.EventChanges() : world.RecordChanges(40));
  for (const bool events_only : {false, true}) {
    v1::WatchJobRequest request = world.Request();
    request.mutable_filter()->set_events_only(events_only);
    auto watch = world.Open(request);
    Client whole(*watch);
    whole.ReadAll();
    EXPECT_EQ(whole.next(), world.last_sequence() + 1) << "all is covered";
    for (const v1::WatchJobResponse& frame : whole.frames) {
      request.set_cursor(frame.next_cursor());
      auto resumed = world.Open(request);
      const int64_t from = frame.has_covers() ? frame.covers().to() + 1 : 1;
      Client rest(*resumed, from);
      rest.ReadAll();
      std::vector<int64_t> expected;
      for (const int64_t sequence : whole.sequences) {
        if (sequence >= from) expected.push_back(sequence);
      }
      EXPECT_EQ(rest.sequences, expected);
    }
  }
}

TEST(WatchTest, FromNowSkipsWhatIsStored) {
  WatchedJob world;
  world.Commit(world.RecordChanges(5));
  v1::WatchJobRequest request = world.Request();
  request.mutable_now();
  auto watch = world.Open(request);
  Client client(*watch, 6);
  client.ReadAll();
  EXPECT_TRUE(client.sequences.empty());
  EXPECT_TRUE(client.frames.back().live());
  world.Commit(world.RecordChanges(1));
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(6, 6));
}

TEST(WatchTest, ACursorThatIsNoneOrBeyondTheEndIsRefused) {
  WatchedJob world;
  world.Commit(world.RecordChanges(5));
  for (const std::string& cursor :
       {std::string("nonsense"), EncodeCursor(world.job.id(), 7), EncodeCursor("01jd0000000000000000000009", 2)}) {
    v1::WatchJobRequest request = world.Request();
    request.set_cursor(cursor);
    const auto watch = Watch::Open(request, "default", *world.store, world.hub, std::make_shared<Sleeper>());
    EXPECT_EQ(watch.status().code(), absl::StatusCode::kInvalidArgument) << cursor;
    EXPECT_EQ(ReasonOf(watch.status()), "CURSOR_INVALID");
  }
  EXPECT_EQ(world.hub.followers(), 0);
}

TEST(WatchTest, OfAnotherTenantsJobIsNotFound) {
  WatchedJob world;
  const auto watch = Watch::Open(world.Request(), "other", *world.store, world.hub, std::make_shared<Sleeper>());
  EXPECT_EQ(watch.status().code(), absl::StatusCode::kNotFound);
}

TEST(WatchTest, TheEndComesLastAfterEveryEntryOfTheSameCommit) {
  WatchedJob world;
  auto watch = world.Open(world.Request());
  Client client(*watch);
  client.ReadAll();
  Changes last = world.StateChanges(v1::Job::SUCCEEDED);
  world.AddRecords(200, v1::Column::LOSS, last);
  world.AddRecords(200, v1::Column::LOSS, last);
  world.Commit(last);
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 400));
  EXPECT_TRUE(client.ended);
  EXPECT_TRUE(client.last);
  EXPECT_EQ(client.frames.back().job().state(), v1::Job::SUCCEEDED);
  for (size_t i = 0; i + 1 < client.frames.size(); ++i) EXPECT_FALSE(client.frames[i].end());
}

TEST(WatchTest, OfAnEndedJobReplaysAndEnds) {
  WatchedJob world;
  world.Commit(world.RecordChanges(3));
  world.Commit(world.StateChanges(v1::Job::FAILED));
  auto watch = world.Open(world.Request());
  Client client(*watch);
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 3));
  EXPECT_TRUE(client.ended);
}

TEST(WatchTest, AnEndThatIsStoredButNotYetHeardIsNotReadPast) {
  WatchedJob world;
  world.Commit(world.RecordChanges(2));
  auto first = world.Open(world.Request());
  Client early(*first);
  early.ReadAll();
  Changes last = world.StateChanges(v1::Job::SUCCEEDED);
  world.AddRecords(3, v1::Column::LOSS, last);
  world.Store(last);  // durable, and the hub has not been told
  v1::WatchJobRequest request = world.Request();
  request.set_cursor(EncodeCursor(world.job.id(), 3));
  auto second = world.Open(request);
  Client late(*second, 3);
  late.ReadAll();
  world.hub.OnCommitted(last);
  early.ReadAll();
  late.ReadAll();
  EXPECT_EQ(early.sequences, Range(1, 5));
  EXPECT_EQ(late.sequences, Range(3, 5));
  EXPECT_TRUE(early.ended);
  EXPECT_TRUE(late.ended);
}

TEST(WatchTest, ReplayOnlyStopsWhereTheStoreStoppedWhenItBegan) {
  WatchedJob world;
  world.Commit(world.RecordChanges(4));
  v1::WatchJobRequest request = world.Request();
  request.set_replay_only(true);
  auto watch = world.Open(request);
  Client client(*watch);
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 4));
  EXPECT_TRUE(client.last);
  EXPECT_FALSE(client.ended) << "the job goes on";
}

TEST(WatchTest, WhoFallsBehindTheRingReadsTheStore) {
  WatchedJob world({.ring_bytes = 2000});
  auto slow = world.Open(world.Request());
  Client client(*slow);
  ASSERT_TRUE(client.Read());
  for (int i = 0; i < 200; ++i) world.Commit(world.RecordChanges(10));
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 2000));
  world.Commit(world.EventChanges());
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, 2001));
}

TEST(WatchTest, FramesAreBounded) {
  WatchedJob world;
  for (int i = 0; i < 100; ++i) world.Commit(world.RecordChanges(30));
  auto watch = world.Open(world.Request());
  Client client(*watch);
  client.ReadAll();
  for (const v1::WatchJobResponse& frame : client.frames) {
    EXPECT_LE(frame.covers().to() - frame.covers().from() + 1, WatchOptions().frame_rows);
  }
  EXPECT_LT(client.frames.size(), 40u) << "and not one for each commit";
}

TEST(WatchTest, FramesOfAChunkAreBoundedHoweverMuchItHolds) {
  WatchedJob world;
  std::vector<v1::Segment> segments;
  for (int i = 0; i < 16; ++i) {
    Changes changes = world.RecordChanges(256);
    v1::Segment& segment = changes.telemetry[0].segment;
    for (int number = 1; number < 20; ++number) {
      v1::Column& column = *segment.mutable_records()->add_columns();
      column = segment.records().columns(0);
      column.set_name("metric" + std::to_string(number));
    }
    segments.push_back(segment);
    world.Store(changes);
  }
  Changes compact;
  compact.compactions.push_back({world.job.id(), 1, 16 * 256, 16, EncodeTelemetryChunk(segments)});
  world.Store(compact);
  world.Commit(world.EventChanges());
  ASSERT_TRUE(world.store->ListTelemetryRuns(world.job.id(), 1, 10)->front().compact);
  auto watch = world.Open(world.Request());
  Client client(*watch);
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1, world.last_sequence()));
  for (const v1::WatchJobResponse& frame : client.frames) {
    const bool one = frame.segments_size() <= 1;
    EXPECT_TRUE(one || frame.ByteSizeLong() < size_t{40} << 10) << frame.ByteSizeLong();
  }
}

TEST(WatchTest, EventsOnlyAnswersForRecordsInBulk) {
  WatchedJob world;
  v1::WatchJobRequest request = world.Request();
  request.mutable_filter()->set_events_only(true);
  auto watch = world.Open(request);
  Client client(*watch);
  client.ReadAll();
  for (int i = 0; i < 1000; ++i) {
    world.Commit(world.RecordChanges(1));
    client.ReadAll();
  }
  EXPECT_TRUE(client.sequences.empty());
  EXPECT_LE(client.frames.size(), 1u + 1000 / 256);
  world.Commit(world.EventChanges());
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(1001, 1001));
  EXPECT_EQ(client.next(), 1002);
}

TEST(WatchTest, ColumnsThatNobodyAskedForAreLeftOutAndCovered) {
  WatchedJob world;
  v1::WatchJobRequest request = world.Request();
  request.mutable_filter()->add_columns(v1::Column::LOSS);
  auto watch = world.Open(request);
  Client client(*watch);
  client.ReadAll();
  world.Commit(world.RecordChanges(3, v1::Column::GRAD_NORM));
  world.Commit(world.RecordChanges(2, v1::Column::LOSS));
  client.ReadAll();
  EXPECT_EQ(client.sequences, Range(4, 5));
  EXPECT_EQ(client.next(), 6);
}

TEST(WatchTest, TheJobIsSentWhenItsStateOrAttemptChangesAndNotForProgress) {
  WatchedJob world;
  auto watch = world.Open(world.Request());
  Client client(*watch);
  client.ReadAll();
  world.Commit(world.StateChanges(v1::Job::RUNNING));
  client.ReadAll();
  EXPECT_EQ(client.frames.back().job().state(), v1::Job::RUNNING);
  const size_t frames = client.frames.size();
  world.job.mutable_progress()->set_iteration(7);
  world.Commit(world.JobChanges(world.job.etag()));
  client.ReadAll();
  EXPECT_EQ(client.frames.size(), frames);
  world.job.set_attempt(2);
  world.Commit(world.JobChanges(world.job.etag()));
  client.ReadAll();
  EXPECT_EQ(client.frames.back().job().attempt(), 2);
}

TEST(WatchTest, NotANumberArrivesAsItWasSent) {
  WatchedJob world;
  Changes changes = world.RecordChanges(3);
  auto& values = *changes.telemetry[0].segment.mutable_records()->mutable_columns(0)->mutable_doubles();
  values.set_values(0, std::numeric_limits<double>::quiet_NaN());
  values.set_values(1, std::numeric_limits<double>::infinity());
  values.set_values(2, -0.0);
  world.Commit(changes);
  v1::WatchJobRequest request = world.Request();
  request.mutable_filter()->add_columns(v1::Column::LOSS);  // decoded and encoded again on the way
  auto watch = world.Open(request);
  Client client(*watch);
  client.ReadAll();
  const auto& seen = client.frames.front().segments(0).records().columns(0).doubles();
  EXPECT_TRUE(std::isnan(seen.values(0)));
  EXPECT_TRUE(std::isinf(seen.values(1)));
  EXPECT_TRUE(std::signbit(seen.values(2)));
}

TEST(WatchTest, NobodyWatchingCostsNothing) {
  WatchedJob world;
  EXPECT_EQ(world.hub.followers(), 0);
  {
    auto one = world.Open(world.Request());
    auto two = world.Open(world.Request());
    EXPECT_EQ(world.hub.followers(), 2);
    one.reset();
    world.Commit(world.RecordChanges(2));
    Client client(*two);
    client.ReadAll();
    EXPECT_EQ(client.sequences, Range(1, 2));
  }
  EXPECT_EQ(world.hub.followers(), 0);
}

// Storing, hearing, opening and reading interleaved at random: whatever the order, every watcher sees every entry.
TEST(WatchTest, HoldsForEveryInterleavingOfStoringHearingAndReading) {
  for (unsigned seed = 1; seed <= 150; ++seed) {
    std::mt19937 random(seed);
    WatchedJob world({.ring_bytes = 300});
    std::vector<Changes> unheard;
    struct Watcher {
      std::unique_ptr<Watch> watch;
      std::unique_ptr<Client> client;
      int64_t from = 1;
    };
    std::vector<Watcher> watchers;
    const auto hear_one = [&] {
      if (unheard.empty()) return;
      world.hub.OnCommitted(unheard.front());
      unheard.erase(unheard.begin());
    };
    bool ended = false;
    for (int step = 0; step < 60; ++step) {
      switch (random() % 5) {
        case 0:
        case 1: {
          if (ended) break;
          Changes changes = random() % 4 == 0 ? world.EventChanges() : world.RecordChanges(1 + random() % 9);
          if (step > 50) {
            ended = true;
            const std::string before = world.job.etag();
            world.job.set_state(v1::Job::SUCCEEDED);
            world.job.set_etag("end");
            PutWhole(changes, world.job, before, {});
          }
          world.Store(changes);
          unheard.push_back(std::move(changes));
          break;
        }
        case 2:
          hear_one();
          break;
        case 3: {
          if (watchers.size() == 4) break;
          Watcher watcher;
          v1::WatchJobRequest request = world.Request();
          if (world.last_sequence() > 0 && random() % 2 == 0) {
            watcher.from = 1 + static_cast<int64_t>(random() % (world.last_sequence() + 1));
            request.set_cursor(EncodeCursor(world.job.id(), watcher.from));
          }
          watcher.watch = world.Open(request);
          watcher.client = std::make_unique<Client>(*watcher.watch, watcher.from);
          watchers.push_back(std::move(watcher));
          break;
        }
        case 4:
          if (!watchers.empty()) watchers[random() % watchers.size()].client->Read();
          break;
      }
    }
    if (!ended) {
      Changes changes = world.StateChanges(v1::Job::CANCELLED);
      world.Store(changes);
      unheard.push_back(std::move(changes));
    }
    while (!unheard.empty()) hear_one();
    for (Watcher& watcher : watchers) {
      watcher.client->ReadAll();
      EXPECT_EQ(watcher.client->sequences, Range(watcher.from, world.last_sequence())) << "seed " << seed;
      EXPECT_TRUE(watcher.client->ended) << "seed " << seed;
    }
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace mantissa::server
