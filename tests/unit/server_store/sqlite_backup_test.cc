// A copy that is made under a running server, and what a server finds that is started on it.
#include "server/store/sqlite_backup.h"

#include <filesystem>
#include <map>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "server/store/sqlite_store.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class SqliteBackup : public testing::Test {
 protected:
  SqliteBackup() : store_(SqliteStore::Open(folder_ / "jobs.db", clock_).value()) {}

  void AddJob(int number, v1::Job::State state, std::vector<v1::Attempt::State> attempts) {
    Changes changes;
    v1::Job job = SampleJob(number, state);
    job.set_attempt(static_cast<int32_t>(attempts.size()));
    PutWhole(changes, job, "", {});
    for (size_t i = 0; i < attempts.size(); ++i) {
      changes.attempts.push_back({SampleAttempt(number, static_cast<int32_t>(i + 1), attempts[i]), std::nullopt});
    }
    ASSERT_TRUE(store_->Commit(changes).ok());
  }
  std::unique_ptr<SqliteStore> Restored() {
    const absl::Status copied = BackUp(folder_ / "jobs.db", folder_ / "copy.db", clock_);
    EXPECT_TRUE(copied.ok()) << copied;
    return SqliteStore::Open(folder_ / "copy.db", clock_).value();
  }

  TempFolder folder_;
  process::FakeClock clock_;
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(SqliteBackup, NothingInItIsLiveAndNoOldFenceMatches) {
  AddJob(1, v1::Job::RUNNING, {v1::Attempt::FAILED, v1::Attempt::RUNNING});
  AddJob(2, v1::Job::QUEUED, {});
  AddJob(3, v1::Job::PAUSING, {v1::Attempt::RUNNING});
  AddJob(4, v1::Job::CANCELLING, {v1::Attempt::STARTING});
  AddJob(5, v1::Job::SUCCEEDED, {v1::Attempt::SUCCEEDED});
  const int64_t epoch = store_->BeginEpoch().value();
  auto restored = Restored();
  EXPECT_GT(restored->BeginEpoch().value(), epoch + 100);

  const StoredState state = restored->Load().value();
  std::map<std::string, v1::Job> jobs;
  for (const LiveJob& live : state.jobs) {
    jobs[live.job.id()] = live.job;
    EXPECT_EQ(live.attempts.back().number(), live.job.attempt());
    for (const v1::Attempt& attempt : live.attempts) {
      EXPECT_NE(attempt.placements(0).token(), "0123456789abcdef");
      EXPECT_TRUE(attempt.state() == v1::Attempt::LOST || attempt.number() == 1);
    }
  }
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[SampleId(1)].state(), v1::Job::QUEUED);
  EXPECT_EQ(jobs[SampleId(1)].attempt(), 1'002);
  EXPECT_EQ(jobs[SampleId(2)].attempt(), 1'000) << "the other world may have started it";
  EXPECT_EQ(jobs[SampleId(3)].state(), v1::Job::PAUSED);
  EXPECT_EQ(restored->GetJob(SampleId(4), "")->state(), v1::Job::CANCELLED);
  EXPECT_EQ(restored->GetJob(SampleId(5), "")->SerializeAsString(),
            store_->GetJob(SampleId(5), "")->SerializeAsString());
}

TEST_F(SqliteBackup, ASchedulerGoesOnWithIt) {
  AddJob(1, v1::Job::RUNNING, {v1::Attempt::RUNNING});
  auto restored = Restored();
  Scheduler scheduler({}, IdSource{[](auto) { return SampleId(99); }, [] { return std::string(16, 't'); }});
  const Moment now{clock_.Now(), clock_.WallNow()};
  scheduler.Load(restored->Load().value(), now);
  Changes changes;
  v1::SynchronizeRequest zombie;
  zombie.set_worker_id("ws-1");
  zombie.set_session_id("s");
  zombie.set_report_number(1);
  v1::AttemptReport& report = *zombie.add_attempts();
  report.mutable_ref()->set_job_id(SampleId(1));
  report.mutable_ref()->set_attempt(1);
  report.mutable_ref()->set_token("0123456789abcdef");
  report.set_state(v1::Attempt::RUNNING);
  ASSERT_TRUE(scheduler.Report(zombie, now, changes).ok());
  EXPECT_THAT(scheduler.DesiredState("ws-1", now).attempts(), IsEmpty()) << "it is told to let go";
  EXPECT_EQ(scheduler.QueuePosition(SampleId(1)), 1);
}

TEST_F(SqliteBackup, IsRefusedWhereItWouldOverwriteOrHasNothingToCopy) {
  const absl::Status missing = BackUp(folder_ / "none.db", folder_ / "copy.db", clock_);
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("--data-dir"));
  ASSERT_TRUE(BackUp(folder_ / "jobs.db", folder_ / "copy.db", clock_).ok());
  EXPECT_EQ(BackUp(folder_ / "jobs.db", folder_ / "copy.db", clock_).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_FALSE(BackUp(folder_ / "jobs.db", folder_ / "no/such/folder/copy.db", clock_).ok());
  EXPECT_FALSE(std::filesystem::exists(folder_ / "copy.db.unfinished"));
}

}  // namespace
}  // namespace mantissa::server
