#include "server/telemetry/jobs_watch.h"

#include <atomic>
#include <thread>

#include "gtest/gtest.h"

#include "server/core/errors.h"
#include "tests/unit/server_telemetry/bed.h"
#include "tests/unit/server_telemetry/watched_job.h"
#include "tests/unit/server_telemetry/watched_jobs.h"

namespace mantissa::server {
namespace {

JobsWatch Open(WatchedJobs& world, const v1::JobFilter& filter = {}, JobsWatchOptions options = {}) {
  return JobsWatch(filter, "default", *world.store, world.feed, std::make_shared<Sleeper>(), options);
}

using Ids = std::vector<std::string>;

TEST(JobsWatchTest, BeginsWithEveryJobNewestFirstAndFollows) {
  WatchedJobs world;
  for (int i = 1; i <= 5; ++i) world.Add(i);
  JobsWatch watch = Open(world, {}, {.frame_jobs = 2});
  JobsClient client(watch);
  client.ReadAll();
  EXPECT_EQ(client.told, (Ids{world.Id(5), world.Id(4), world.Id(3), world.Id(2), world.Id(1)}));
  EXPECT_EQ(client.frames.size(), 3u) << "two jobs a frame";
  EXPECT_EQ(client.frames[0].jobs(0).name(), "digits");
  EXPECT_FALSE(client.frames[0].jobs(0).has_spec() || client.frames[0].jobs(0).has_resolved_spec()) << "BASIC view";

  world.Move(2, v1::Job::RUNNING);
  world.Add(6);
  client.ReadAll();
  EXPECT_EQ(client.frames.size(), 4u);
  EXPECT_EQ(client.states, world.States());
  EXPECT_FALSE(client.frames[3].jobs(1).has_spec() || client.frames[3].jobs(1).has_resolved_spec());
}

TEST(JobsWatchTest, TheFirstFrameComesEvenWithoutAJob) {
  WatchedJobs world;
  JobsWatch watch = Open(world);
  JobsClient client(watch);
  EXPECT_TRUE(client.Read());
  EXPECT_TRUE(client.frames[0].jobs().empty());
  EXPECT_FALSE(client.Read()) << "but no second one";
}

TEST(JobsWatchTest, AFrameEndsAtItsBytes) {
  WatchedJobs world;
  for (int i = 1; i <= 40; ++i) world.Add(i);
  JobsWatch watch = Open(world, {}, {.frame_jobs = 256, .frame_bytes = 200});
  JobsClient client(watch);
  ASSERT_TRUE(client.Read());
  const int first = client.frames[0].jobs_size();
  EXPECT_GT(first, 1);
  EXPECT_LT(first, 10);
  client.ReadAll();
  EXPECT_EQ(client.told.size(), 40u) << "each once";
  EXPECT_EQ(client.states, world.States());
}

// While a client reads page after page, jobs come, change and go: what it has seen already and what it has not.
TEST(JobsWatchTest, NothingIsMissedBetweenWhatIsReadAndWhatFollows) {
  WatchedJobs world;
  for (int i = 1; i <= 9; ++i) world.Add(i);
  JobsWatch watch = Open(world, {}, {.frame_jobs = 3});
  JobsClient client(watch);
  ASSERT_TRUE(client.Read());  // 9, 8, 7
  world.Add(10);
  world.Move(8, v1::Job::RUNNING);
  world.Move(2, v1::Job::CANCELLED);
  ASSERT_TRUE(client.Read());  // 6, 5, 4
  world.Move(9, v1::Job::FAILED);
  world.Delete(9);
  world.Delete(2);
  world.Move(5, v1::Job::STARTING);
  client.ReadAll();
  EXPECT_EQ(client.states, world.States());
  EXPECT_EQ(world.feed.kept(), 0u);
}

TEST(JobsWatchTest, AJobThatWasDeletedIsNothingButItsId) {
  WatchedJobs world;
  world.Add(1);
  world.Move(1, v1::Job::SUCCEEDED);
  JobsWatch watch = Open(world);
  JobsClient client(watch);
  client.ReadAll();
  world.Delete(1);
  ASSERT_TRUE(client.Read());
  v1::Job gone;
  gone.set_id(world.Id(1));
  EXPECT_EQ(client.frames[1].jobs(0).SerializeAsString(), gone.SerializeAsString());
  EXPECT_TRUE(client.states.empty());
}

TEST(JobsWatchTest, StatesChooseAmongThoseAtTheBeginningAndEndsAreSeen) {
  WatchedJobs world;
  for (int i = 1; i <= 3; ++i) world.Add(i);
  world.Move(1, v1::Job::RUNNING);
  v1::JobFilter filter;
  filter.add_states(v1::Job::RUNNING);
  JobsWatch watch = Open(world, filter);
  JobsClient client(watch);
  client.ReadAll();
  EXPECT_EQ(client.told, Ids{world.Id(1)});
  world.Move(1, v1::Job::SUCCEEDED);
  world.Move(2, v1::Job::STARTING);
  client.ReadAll();
  EXPECT_EQ(client.told, (Ids{world.Id(1), world.Id(1), world.Id(2)}));
  EXPECT_EQ(client.states[world.Id(1)], v1::Job::SUCCEEDED);
}

TEST(JobsWatchTest, OfWhatChangesOnlyThatIsSentWhichPassesTheRestOfTheFilter) {
  WatchedJobs world;
  for (int i = 4; i <= 10; ++i) {
    world.Add(i, [i](v1::Job& job) {
      if (i != 6) (*job.mutable_labels())["team"] = i == 7 ? "vision" : "nlp";
      if (i != 8) job.set_name("gpt");
    });
  }
  // Which leaves out 4 and 10, made on its edges, 6 without the label, 7 with another, and 8 of another name.
  v1::JobFilter filter;
  filter.set_name("gpt");
  (*filter.mutable_labels())["team"] = "nlp";
  filter.mutable_created_after()->set_seconds(1'004);
  filter.mutable_created_before()->set_seconds(1'010);
  JobsWatch watch = Open(world, filter);
  JobsClient client(watch);
  client.ReadAll();
  ASSERT_EQ(client.told, (Ids{world.Id(9), world.Id(5)})) << "as the store understands the filter";
  for (int i = 4; i <= 10; ++i) world.Move(i, v1::Job::RUNNING);
  client.ReadAll();
  EXPECT_EQ(client.told, (Ids{world.Id(9), world.Id(5), world.Id(5), world.Id(9)})) << "and changes are chosen alike";
  EXPECT_EQ(client.frames.size(), 2u);
  world.Move(6, v1::Job::SUCCEEDED);
  EXPECT_FALSE(client.Read()) << "no empty frame for what was left out";
}

TEST(JobsWatchTest, AnotherTenantsJobsAreNotTold) {
  WatchedJobs world;
  world.Add(1);
  world.Add(2, [](v1::Job& job) { job.set_tenant("others"); });
  JobsWatch watch = Open(world);
  JobsClient client(watch);
  client.ReadAll();
  world.Move(2, v1::Job::RUNNING);
  world.Move(1, v1::Job::RUNNING);
  client.ReadAll();
  EXPECT_EQ(client.told, (Ids{world.Id(1), world.Id(1)}));
  // Nor that one of them has gone.
  world.Move(2, v1::Job::SUCCEEDED);
  world.Delete(2);
  world.Move(1, v1::Job::SUCCEEDED);
  client.ReadAll();
  EXPECT_EQ(client.told, (Ids{world.Id(1), world.Id(1), world.Id(1)}));
}

TEST(JobsWatchTest, TwoWatchersSeeTheSameWhateverTheirPace) {
  WatchedJobs world;
  for (int i = 1; i <= 4; ++i) world.Add(i);
  JobsWatch first = Open(world), second = Open(world, {}, {.frame_jobs = 1});
  JobsClient quick(first), slow(second);
  for (const v1::Job::State state : {v1::Job::STARTING, v1::Job::RUNNING, v1::Job::SUCCEEDED}) {
    for (int i = 1; i <= 4; ++i) {
      world.Move(i, state);
      quick.ReadAll();
    }
    slow.Read();
  }
  slow.ReadAll();
  EXPECT_EQ(quick.states, world.States());
  EXPECT_EQ(slow.states, world.States());
  EXPECT_EQ(quick.told.size(), 16u) << "every step";
  EXPECT_LE(slow.told.size(), 8u) << "what was there, then the newest of each";
  EXPECT_EQ(world.feed.kept(), 0u);
}

TEST(JobsWatchTest, WhoIsLeftBehindIsEndedAndBeginsAgain) {
  WatchedJobs world({.most_jobs = 3});
  for (int i = 1; i <= 5; ++i) world.Add(i);
  {
    JobsWatch watch = Open(world);
    JobsClient client(watch);
    ASSERT_TRUE(client.Read());
    for (int i = 1; i <= 5; ++i) world.Move(i, v1::Job::RUNNING);
    const auto frame = watch.Next();
    EXPECT_EQ(frame.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ReasonOf(frame.status()), "LEFT_BEHIND");
  }
  EXPECT_EQ(world.feed.followers(), 0u);
  JobsWatch again = Open(world);
  JobsClient client(again);
  client.ReadAll();
  EXPECT_EQ(client.states, world.States());
}

// One thread moves jobs while others come, watch and sleep. Each sees the end of every job, whenever it came.
TEST(JobsWatchTest, WatchersThatSleepSeeEveryJobEnd) {
  WatchedJobs world;
  constexpr int kJobs = 40;
  std::vector<std::thread> watchers;
  for (int i = 0; i < 4; ++i) {
    watchers.emplace_back([&world] {
      auto bed = std::make_shared<Bed>();
      JobsWatch watch({}, "default", *world.store, world.feed, bed, {.frame_jobs = 5});
      JobsClient client(watch);
      const auto ended = [&client] {
        int count = 0;
        for (const auto& [id, state] : client.states) count += state == v1::Job::SUCCEEDED ? 1 : 0;
        return count;
      };
      while (ended() < kJobs) {
        if (!client.Read()) bed->Sleep();
      }
    });
  }
  for (int i = 1; i <= kJobs; ++i) {
    world.Add(i);
    if (i > 1) world.Move(i - 1, v1::Job::SUCCEEDED);
  }
  world.Move(kJobs, v1::Job::SUCCEEDED);
  for (std::thread& watcher : watchers) watcher.join();
  EXPECT_EQ(world.feed.followers(), 0u);
  EXPECT_EQ(world.feed.kept(), 0u);
}

}  // namespace
}  // namespace mantissa::server
