#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"

#include "process/clock.h"
#include "process/mutex.h"
#include "server/store/blob_files.h"
#include "server/store/group_commit.h"
#include "server/store/job_store.h"

namespace mantissa::server {

struct JobSweeperOptions {
  // Jobs that ended longer ago are deleted; 0: however long ago.
  std::chrono::milliseconds keep_for{0};
  // Of those that ended, the newest that are kept; 0: however many.
  int64_t keep_jobs = 0;
  // Between looks for what has become too old; what was deleted by hand is seen to at once.
  std::chrono::milliseconds interval{60'000};
};

// Takes deleted jobs away, and deletes those that retention no longer keeps: rows in bounded batches that go through
// the writer like everybody's, so that no commit waits for a long history; then files; then the job's row, so that
// whatever is cut short is gone on with after the next start.
//
// Thread-safe.
class JobSweeper final : public CommitListener {
 public:
  // All of it outlives the sweeper.
  JobSweeper(JobStore& store, BlobFiles& blobs, const process::Clock& clock, JobSweeperOptions options = {});
  ~JobSweeper() override;

  // Begins to sweep; `commit` outlives Stop.
  void Start(GroupCommit& commit);
  void Stop();

  // One round, on the caller's thread. Stops at the first error, which the next round meets again or not.
  absl::Status SweepOnce(GroupCommit& commit);

  void OnCommitted(const Changes& changes) override;

 private:
  absl::Status DeleteExpired(GroupCommit& commit);
  absl::Status TakeAway(GroupCommit& commit, const std::string& after_id, DeletedJob job);
  bool stopping();
  void Run(GroupCommit& commit);

  JobStore& store_;
  BlobFiles& blobs_;
  const process::Clock& clock_;
  const JobSweeperOptions options_;

  process::Mutex mutex_;
  process::CondVar wake_;
  bool due_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mantissa::server
