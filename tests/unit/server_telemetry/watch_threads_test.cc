#include <thread>

#include "gtest/gtest.h"

#include "tests/unit/server_telemetry/bed.h"
#include "tests/unit/server_telemetry/watched_job.h"

namespace mantissa::server {
namespace {

// One thread commits while others come, watch and sleep. Nobody misses a wake, an entry or the end.
TEST(WatchThreadsTest, WatchersThatSleepSeeEverythingOnce) {
  WatchedJob world({.ring_bytes = 4000});
  constexpr int kCommits = 300;
  std::vector<std::thread> watchers;
  std::vector<std::vector<int64_t>> seen(4);
  for (size_t i = 0; i < seen.size(); ++i) {
    watchers.emplace_back([&world, &mine = seen[i]] {
      auto bed = std::make_shared<Bed>();
      auto watch = Watch::Open(world.Request(), "default", *world.store, world.hub, bed);
      ASSERT_TRUE(watch.ok()) << watch.status();
      Client client(**watch);
      while (!client.ended) {
        if (!client.Read()) bed->Sleep();
      }
      mine = client.sequences;
    });
  }
  for (int i = 0; i < kCommits; ++i) world.Commit(world.RecordChanges(1 + i % 7));
  const int64_t last = world.last_sequence();
  world.Commit(world.StateChanges(v1::Job::SUCCEEDED));
  for (std::thread& watcher : watchers) watcher.join();
  for (const std::vector<int64_t>& sequences : seen) EXPECT_EQ(sequences, Range(1, last));
  EXPECT_EQ(world.hub.followers(), 0);
}

}  // namespace
}  // namespace mantissa::server
