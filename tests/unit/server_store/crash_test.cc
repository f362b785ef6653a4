// A server that is killed loses nothing it has answered.
#include <cstdlib>
#include <signal.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

#include "gtest/gtest.h"

#include "process/clock.h"
#include "server/store/sqlite_store.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

// Commits job after job and says each number aloud once it is durable, until it is killed.
[[noreturn]] void CommitForever(const std::string& path, int first, int out) {
  process::RealClock clock;
  auto store = SqliteStore::Open(path, clock);
  if (!store.ok()) ::_exit(3);
  for (int number = first;; ++number) {
    Changes changes = NewJob(number);
    changes.attempts.push_back({SampleAttempt(number, 1), std::nullopt});
    changes.telemetry = {SampleEvent(number, 1), SampleRecords(number, 2, 8)};
    if (!(*store)->Commit(changes).ok()) ::_exit(4);
    if (::write(out, &number, sizeof number) != sizeof number) ::_exit(5);
  }
}

TEST(StoreCrash, EveryAcknowledgedCommitSurvivesSigkill) {
  constexpr int kKills = 20;
  TempFolder folder;
  const std::string path = folder / "jobs.db";
  int acknowledged = 0;
  for (int kill = 0; kill < kKills; ++kill) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const int first = acknowledged + 1000 * (kill + 1);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) CommitForever(path, first, pipe[1]);
    ::close(pipe[1]);
    // Killed after another number of commits each time, so in another place.
    int number = 0;
    const int until = first + 1 + kill % 7;
    while (number < until && ::read(pipe[0], &number, sizeof number) == sizeof number) {
    }
    ASSERT_EQ(number, until) << "the child could not commit";
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    while (::read(pipe[0], &number, sizeof number) == sizeof number) {
    }
    ::close(pipe[0]);
    acknowledged = number;

    process::RealClock clock;
    auto store = SqliteStore::Open(path, clock);
    ASSERT_TRUE(store.ok()) << store.status();
    for (int job = first; job <= acknowledged; ++job) {
      ASSERT_TRUE((*store)->GetJob(SampleId(job), "").ok()) << "lost " << job;
      ASSERT_EQ((*store)->ListAttempts(SampleId(job))->size(), 1u);
      ASSERT_EQ((*store)->ReadTelemetry(SampleId(job), 1, 1 << 20)->last_sequence, 9);
    }
    // At most the one in flight is there without having been acknowledged, and then whole.
    if ((*store)->GetJob(SampleId(acknowledged + 1), "").ok()) {
      EXPECT_EQ((*store)->ReadTelemetry(SampleId(acknowledged + 1), 1, 1 << 20)->last_sequence, 9);
    }
    EXPECT_EQ((*store)->GetJob(SampleId(acknowledged + 2), "").status().code(), absl::StatusCode::kNotFound);
  }
}

}  // namespace
}  // namespace mantissa::server
