#include "server/store/job_sweeper.h"

#include <memory>
#include <utility>
#include <vector>

#include "process/failpoint.h"
#include "process/log.h"

namespace mantissa::server {
namespace {

using process::Level;
using process::Log;

constexpr int32_t kJobsAtOnce = 64;

}  // namespace

JobSweeper::JobSweeper(JobStore& store, BlobFiles& blobs, const process::Clock& clock, JobSweeperOptions options)
    : store_(store), blobs_(blobs), clock_(clock), options_(options) {}

JobSweeper::~JobSweeper() { Stop(); }

void JobSweeper::Start(GroupCommit& commit) {
  thread_ = std::thread([this, &commit] { Run(commit); });
}

void JobSweeper::Stop() {
  {
    process::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool JobSweeper::stopping() {
  process::MutexLock lock(mutex_);
  return stopping_;
}

void JobSweeper::OnCommitted(const Changes& changes) {
  if (changes.deletions.empty() && changes.deleted_checkpoints.empty()) return;
  process::MutexLock lock(mutex_);
  due_ = true;
  wake_.NotifyAll();
}

void JobSweeper::Run(GroupCommit& commit) {
  while (true) {
    {
      process::MutexLock lock(mutex_);
      const auto until = clock_.Now() + options_.interval;
      while (!due_ && !stopping_) {
        const auto now = clock_.Now();
        if (now >= until) break;
        wake_.WaitFor(mutex_, until - now);
      }
      if (stopping_) return;
      due_ = false;
    }
    const absl::Status swept = SweepOnce(commit);
    if (!swept.ok() && !stopping()) {
      Log(Level::kWarning, "deleted jobs could not all be taken away; tried again later", {{"error", swept}});
    }
  }
}

absl::Status JobSweeper::SweepOnce(GroupCommit& commit) {
  absl::Status status = DeleteExpired(commit);
  std::string after_id;
  while (status.ok() && !stopping()) {
    absl::StatusOr<std::vector<DeletedJob>> jobs = store_.ListDeletedJobs(after_id, kJobsAtOnce);
    if (!jobs.ok()) return jobs.status();
    if (jobs->empty()) break;
    for (DeletedJob& job : *jobs) {
      std::string id = job.job_id;
      status = TakeAway(commit, after_id, std::move(job));
      if (!status.ok()) break;
      after_id = std::move(id);
    }
  }
  return status;
}

absl::Status JobSweeper::DeleteExpired(GroupCommit& commit) {
  if (options_.keep_for.count() == 0 && options_.keep_jobs == 0) return absl::OkStatus();
  RetentionQuery query;
  query.keep_newest = options_.keep_jobs;
  if (options_.keep_for.count() > 0) {
    const auto before = clock_.WallNow() - options_.keep_for;
    query.ended_before_micros =
        std::chrono::duration_cast<std::chrono::microseconds>(before.time_since_epoch()).count();
  }
  int64_t deleted = 0;
  while (!stopping()) {
    absl::StatusOr<std::vector<JobDeletion>> expired = store_.ListExpiredJobs(query, kJobsAtOnce);
    if (!expired.ok()) return expired.status();
    std::vector<std::pair<JobDeletion, std::vector<v1::Checkpoint>>> jobs;
    for (JobDeletion& deletion : *expired) {
      absl::StatusOr<std::vector<v1::Checkpoint>> checkpoints = store_.ListCheckpoints(deletion.job_id);
      if (!checkpoints.ok()) return checkpoints.status();
      jobs.emplace_back(std::move(deletion), *std::move(checkpoints));
    }
    int64_t gone = 0;
    const absl::Status committed = commit.Commit([&](Scheduler& scheduler, Moment now, Changes& changes) {
      // One that a live job begins from stays until that has ended.
      for (const auto& [deletion, checkpoints] : jobs) {
        gone += scheduler.Delete(deletion, checkpoints, now, changes).ok();
      }
    });
    if (!committed.ok()) return committed;
    deleted += gone;
    if (gone == 0) break;
  }
  if (deleted > 0) Log(Level::kInfo, "retention deleted jobs that had ended", {{"jobs", deleted}});
  return absl::OkStatus();
}

absl::Status JobSweeper::TakeAway(GroupCommit& commit, const std::string& after_id, DeletedJob job) {
  const std::string id = job.job_id;
  while (job.has_telemetry) {
    if (stopping()) return absl::OkStatus();
    absl::Status swept = commit.Commit([&id](Scheduler&, Moment, Changes& changes) {
      changes.sweeps.push_back({id, false});
    });
    if (!swept.ok()) return swept;
    MANTISSA_FAILPOINT("sweep.after_telemetry");
    absl::StatusOr<std::vector<DeletedJob>> left = store_.ListDeletedJobs(after_id, 1);
    if (!left.ok()) return left.status();
    if (left->empty() || left->front().job_id != id) return absl::OkStatus();
    job = left->front();
  }
  MANTISSA_FAILPOINT("sweep.before_files");
  absl::Status removed = blobs_.RemoveJob(id);
  MANTISSA_FAILPOINT("sweep.after_files");
  if (!removed.ok() || job.has_checkpoints) return removed;
  return commit.Commit([&id](Scheduler&, Moment, Changes& changes) { changes.sweeps.push_back({id, true}); });
}

}  // namespace mantissa::server
