#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/clock.h"
#include "process/mutex.h"
#include "server/store/group_commit.h"
#include "server/store/job_store.h"

namespace mantissa::server {

struct TelemetryCompactorOptions {
  // Between looks at jobs that have ended; what this server saw end is seen to at once.
  std::chrono::milliseconds interval{60'000};
  // Between two commits, so that those of others come first.
  std::chrono::milliseconds pause{10};
  // About so many of a job's newest entries are kept as they are, and older records thinned; 0: none are.
  int64_t full_records = 0;
};

// A row of what is thinned stands for so many records.
inline constexpr int64_t kThinnedRecords = 128;

// Rows of a listing, from the one at `begin` up to the one at `end`, that become one chunk.
struct RunsToCompact {
  size_t begin = 0;
  size_t end = 0;
};

// The first rows of `runs` that are to be compacted; nothing when none are. `whole`: no more comes, and so the last
// chunk need not be full.
std::optional<RunsToCompact> ChooseRuns(const std::vector<TelemetryRun>& runs, bool whole);

// Puts old rows of jobs' telemetry together into chunks (Note [Compaction]): of a job that runs each time that there is
// enough for one, and all that is left once it has ended. It reads what is durable, and writes one chunk a transaction,
// through the writer like everybody; what is cut short is found as it was, and gone on with. Chunks that have grown old
// it thins.
//
// Thread-safe.
class TelemetryCompactor final : public CommitListener {
 public:
  // All of it outlives the compactor.
  TelemetryCompactor(JobStore& store, const process::Clock& clock, TelemetryCompactorOptions options = {});
  ~TelemetryCompactor() override;

  // Begins to compact; `commit` outlives Stop.
  void Start(GroupCommit& commit);
  void Stop();

  // One round over what is due, on the caller's thread. A job whose rows can't be read is logged and left as it is;
  // stops at the first other error, which the next round meets again or not.
  absl::Status CompactOnce(GroupCommit& commit);

  void OnCommitted(const Changes& changes) override;

 private:
  absl::Status CompactEnded(GroupCommit& commit);
  absl::Status CompactJob(GroupCommit& commit, const std::string& job_id, bool ended);
  absl::Status PutTogether(GroupCommit& commit, const std::string& job_id, bool ended, int64_t newest);
  absl::Status Thin(GroupCommit& commit, const std::string& job_id, bool ended, int64_t newest);
  absl::Status Replace(GroupCommit& commit, TelemetryCompaction compaction);
  // Entries of sequences `first` to `last`, both of which a row begins or ends with.
  absl::StatusOr<std::vector<v1::Segment>> Read(const std::string& job_id, int64_t first, int64_t last);
  bool stopping();
  // Whatever becomes due meanwhile; until a stop.
  void Rest(std::chrono::milliseconds time);
  void Run(GroupCommit& commit);

  JobStore& store_;
  const process::Clock& clock_;
  const TelemetryCompactorOptions options_;

  // Of the thread that compacts: where the rows begin that are not yet chunks, or not thinned. Only of jobs that run.
  std::map<std::string, int64_t> next_, next_whole_;

  process::Mutex mutex_;
  process::CondVar wake_;
  // Records of each job since it was last due.
  std::map<std::string, int64_t, std::less<>> records_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> due_ ABSL_GUARDED_BY(mutex_);
  bool some_ended_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mantissa::server
