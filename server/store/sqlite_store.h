// The embedded store: one file, no server beside ours.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/clock.h"
#include "process/file_descriptor.h"
#include "process/mutex.h"
#include "server/store/job_store.h"
#include "server/store/sqlite.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {

struct SqliteStoreOptions {
  // A statement waits this long for another program that has the file locked (a backup, a person with sqlite3).
  std::chrono::milliseconds busy_timeout{5'000};
  // Reads that may run at once; more wait.
  int read_connections = 4;
  // Prepared statements that a reading connection keeps; listings have as many texts as there are filters.
  size_t kept_statements = 64;
  // Two days, so that the promised one holds even where the wall clock is set forward by hours.
  std::chrono::hours keep_idempotency{48};
};

// Whether files on this kind of filesystem (statfs f_type) are another machine's: their locks and their fsync cannot be
// relied on.
bool IsNetworkFilesystem(int64_t statfs_type);

// JobStore on SQLite: WAL, synchronous=FULL, one connection that writes, a few that read. A lock file beside the
// database keeps a second server out. Commit and Load are called by one thread at a time; everything else is
// thread-safe.
class SqliteStore final : public JobStore {
 public:
  // Makes the file when it is missing and brings its schema up to date. FAILED_PRECONDITION, saying what to do: on a
  // network filesystem, with a schema newer than this program, with another server on the same file.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& path, const process::Clock& clock,
                                                           SqliteStoreOptions options = {});
  ~SqliteStore() override;

  absl::Status Commit(const Changes& changes) override;
  absl::StatusOr<StoredState> Load() override;
  absl::StatusOr<int64_t> BeginEpoch() override;
  absl::StatusOr<int32_t> SchemaVersion() override;
  absl::StatusOr<v1::Job> GetJob(std::string_view job_id, std::string_view tenant) override;
  absl::StatusOr<JobPage> ListJobs(std::string_view tenant, const v1::JobFilter& filter, std::string_view before_id,
                                   int32_t limit) override;
  absl::StatusOr<std::optional<IdempotencyWrite>> FindIdempotency(std::string_view tenant,
                                                                  std::string_view request_id) override;
  absl::StatusOr<std::vector<v1::Attempt>> ListAttempts(std::string_view job_id) override;
  absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints(std::string_view job_id) override;
  absl::StatusOr<std::vector<ArtifactWrite>> ListArtifacts(std::string_view job_id) override;
  absl::StatusOr<std::vector<ArtifactWrite>> ListWantedArtifacts(std::string_view job_id) override;
  absl::StatusOr<std::optional<v1::Report>> GetReport(std::string_view job_id) override;
  absl::StatusOr<TelemetryPage> ReadTelemetry(std::string_view job_id, int64_t from, int64_t max_bytes) override;
  absl::StatusOr<TelemetryPage> ListEvents(std::string_view job_id, int64_t from, v1::JobEvent::Severity min_severity,
                                           int32_t limit) override;
  absl::StatusOr<int64_t> CountEvents(std::string_view job_id, int64_t from, int64_t through) override;
  absl::StatusOr<std::vector<TelemetryRun>> ListTelemetryRuns(std::string_view job_id, int64_t from,
                                                              int32_t limit) override;
  absl::StatusOr<std::vector<std::string>> ListUncompactedJobs(std::string_view after_id, int32_t limit) override;
  absl::StatusOr<std::vector<DeletedJob>> ListDeletedJobs(std::string_view after_id, int32_t limit) override;
  absl::StatusOr<std::vector<JobDeletion>> ListExpiredJobs(const RetentionQuery& query, int32_t limit) override;

 private:
  // A reading connection, given back when this goes.
  class Reader;

  SqliteStore(const process::Clock& clock, SqliteStoreOptions options) : clock_(clock), options_(options) {}

  absl::Status WriteAll(const Changes& changes);
  absl::Status WriteJob(const JobWrite& write);
  absl::Status WriteNewSpec(const JobWrite& write);
  absl::Status WriteLabels(const v1::Job& job);
  absl::Status WriteAttempt(const AttemptWrite& write);
  absl::Status WriteCheckpoint(const v1::Checkpoint& checkpoint);
  absl::Status DeleteCheckpoint(std::string_view job_and_name);
  absl::Status WriteArtifact(const ArtifactWrite& write);
  absl::Status WriteReport(const ReportWrite& write);
  absl::Status WriteTelemetry(const std::vector<TelemetryWrite>& writes);
  absl::Status CompactTelemetry(const TelemetryCompaction& compaction);
  absl::Status ForgetUncompacted(const std::string& job_id);
  absl::Status WriteIdempotency(const std::vector<IdempotencyWrite>& writes);
  absl::Status WriteDrain(const DrainWrite& write);
  absl::Status HideJob(const JobDeletion& deletion);
  absl::Status SweepJob(const JobSweep& sweep);

  absl::StatusOr<LiveJob> LoadJob(const std::string& job_id);
  absl::Status LoadDrained(StoredState& stored);
  absl::Status LoadOrphans(StoredState& stored);
  absl::StatusOr<int64_t> LastSequence(Reader& reader, std::string_view job_id);
  absl::StatusOr<std::vector<ArtifactWrite>> ReadArtifacts(std::string_view job_id, bool stored);
  absl::StatusOr<Reader> Read();

  const process::Clock& clock_;
  const SqliteStoreOptions options_;
  process::FileDescriptor lock_;
  std::unique_ptr<SqliteConnection> writer_;
  // A commit's outcome is unknown, and the log is not known to agree with the file.
  bool suspect_ = false;

  RecentChunks chunks_;

  process::Mutex mutex_;
  process::CondVar reader_back_;
  std::vector<std::unique_ptr<SqliteConnection>> idle_readers_ ABSL_GUARDED_BY(mutex_);
};

// ABORTED: a guard did not hold.
absl::Status StoreConflict(absl::string_view what, absl::string_view key);

}  // namespace mantissa::server
