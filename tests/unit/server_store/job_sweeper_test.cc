// Deleted jobs are taken away whole, and retention deletes no more than it was told.
#include "server/store/job_sweeper.h"

#include <filesystem>
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "process/mutex.h"
#include "server/store/fake_store.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

// Real ids: the names of folders are made of them.
std::string Ulid(int number) { return absl::StrFormat("01j%023d", number); }

class JobSweeperTest : public testing::Test {
 protected:
  JobSweeperTest() : blobs_(BlobFiles::Open(folder_ / "jobs").value()) { EXPECT_TRUE(writer_.Start().ok()); }
  ~JobSweeperTest() override { writer_.Stop(); }

  // A job that ended `ago`, with telemetry, logs and, where asked, a checkpoint on a storage that nobody reaches.
  std::string AddEnded(int number, std::chrono::hours ago, bool checkpoint = false) {
    v1::Job job = SampleJob(number, v1::Job::SUCCEEDED);
    job.set_id(Ulid(number));
    const auto end = clock_.WallNow() - ago;
    job.mutable_end_time()->set_seconds(
        std::chrono::duration_cast<std::chrono::seconds>(end.time_since_epoch()).count());
    Changes changes;
    PutWhole(changes, job, "", {});
    for (int i = 1; i <= 3; ++i) {
      changes.telemetry.push_back(SampleEvent(number, i));
      changes.telemetry.back().job_id = job.id();
    }
    if (checkpoint) {
      changes.checkpoints.push_back(SampleCheckpoint(number, 1, 5));
      changes.checkpoints.back().set_job_id(job.id());
      changes.checkpoints.back().set_storage_id("far-away");
    }
    EXPECT_TRUE(store_.Commit(changes).ok());
    EXPECT_TRUE(blobs_->AppendLog({job.id(), 1, 0, v1::LogStream::STDERR}, 0, "words").ok());
    return job.id();
  }
  void Delete(const std::string& id) {
    Changes changes;
    changes.deletions.push_back({id, store_.GetJob(id, "")->etag(), "default"});
    ASSERT_TRUE(store_.Commit(changes).ok());
  }
  absl::Status Sweep(JobSweeperOptions options = {}) {
    return JobSweeper(store_, *blobs_, clock_, options).SweepOnce(writer_);
  }
  bool HasFiles(const std::string& id) { return std::filesystem::exists(folder_ / "jobs/" + id); }

  TempFolder folder_;
  FakeStore store_;
  process::FakeClock clock_;
  std::unique_ptr<BlobFiles> blobs_;
  int made_ = 0;
  GroupCommit writer_{store_,
                      [this] {
                        return std::make_unique<Scheduler>(
                            SchedulerOptions{},
                            IdSource{[this](auto) { return Ulid(++made_); }, [] { return std::string(16, 't'); }});
                      },
                      clock_,
                      {}};
};

TEST_F(JobSweeperTest, TakesRowsAndFilesOfWhatWasDeletedAndNothingElse) {
  const std::string gone = AddEnded(1, std::chrono::hours(1)), kept = AddEnded(2, std::chrono::hours(9'000));
  Delete(gone);
  ASSERT_TRUE(Sweep().ok());
  EXPECT_THAT(store_.ListDeletedJobs("", 10).value(), IsEmpty());
  EXPECT_FALSE(HasFiles(gone));
  EXPECT_TRUE(HasFiles(kept));
  EXPECT_THAT(store_.ReadTelemetry(kept, 1, 1 << 20)->segments, SizeIs(3));
}

TEST_F(JobSweeperTest, AJobWhoseCheckpointsAreOutOfReachIsKeptInMindAndHoldsNobodyUp) {
  const std::string held = AddEnded(1, std::chrono::hours(1), /*checkpoint=*/true);
  const std::string other = AddEnded(2, std::chrono::hours(1));
  Delete(held);
  Delete(other);
  ASSERT_TRUE(Sweep().ok());
  const std::vector<DeletedJob> left = store_.ListDeletedJobs("", 10).value();
  ASSERT_THAT(left, SizeIs(1));
  EXPECT_EQ(left[0].job_id, held);
  EXPECT_FALSE(left[0].has_telemetry);
  EXPECT_FALSE(HasFiles(held));
}

TEST_F(JobSweeperTest, RetentionIsByAgeAndByNumberAndOffUnlessAskedFor) {
  for (int i = 1; i <= 6; ++i) AddEnded(i, std::chrono::hours(10 * i));
  ASSERT_TRUE(Sweep().ok());
  EXPECT_THAT(store_.ListJobs("", {}, "", 10)->jobs, SizeIs(6));
  ASSERT_TRUE(Sweep({.keep_for = std::chrono::hours(45)}).ok());
  EXPECT_THAT(store_.ListJobs("", {}, "", 10)->jobs, SizeIs(4));
  ASSERT_TRUE(Sweep({.keep_jobs = 3}).ok());
  EXPECT_THAT(store_.ListJobs("", {}, "", 10)->jobs, SizeIs(3));
  EXPECT_TRUE(store_.GetJob(Ulid(3), "").ok());
  EXPECT_FALSE(store_.GetJob(Ulid(4), "").ok());
  EXPECT_THAT(store_.ListDeletedJobs("", 10).value(), IsEmpty());
}

TEST_F(JobSweeperTest, AFailedCommitIsToldAndTheNextRoundGoesOn) {
  Delete(AddEnded(1, std::chrono::hours(1)));
  store_.FailCommit(absl::UnknownError("the disk went away"));
  EXPECT_FALSE(Sweep().ok());
  EXPECT_TRUE(Sweep().ok());
  EXPECT_THAT(store_.ListDeletedJobs("", 10).value(), IsEmpty());
}

}  // namespace
}  // namespace mantissa::server
