// The store of an installation whose server may be replaced by another at any time: a PostgreSQL database.
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
#include "process/mutex.h"
#include "server/store/active_lock.h"
#include "server/store/job_store.h"
#include "server/store/postgres.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {

struct PostgresStoreOptions {
  // A write waits this long for another session that has rows locked (a person with psql).
  std::chrono::milliseconds lock_timeout{5'000};
  // A statement that takes longer has failed; of a commit the outcome may then be unknown.
  std::chrono::milliseconds reply_timeout{30'000};
  // Reads that may run at once; more wait.
  int read_connections = 4;
  // Two days, so that the promised one holds even where the wall clock is set forward by hours.
  std::chrono::hours keep_idempotency{48};
};

// JobStore on PostgreSQL: one connection that writes, a few that read, each opened anew when it has been lost. Writes
// only in the epoch that it began itself, under the ActiveLock (Note [Epoch fencing]). Commit, Load and BeginEpoch
// are called by one thread at a time; everything else is thread-safe.
//
// Beside what JobStore says: Commit and Load are FAILED_PRECONDITION before BeginEpoch, and once another server has
// begun a later epoch; nothing is written then. After an UNKNOWN commit, Load begins an epoch of its own, so that
// what the lost session may still be doing is over before anything is read.
class PostgresStore final : public JobStore {
 public:
  // Brings the schema up to date. `lock` is held, and outlives the store. FAILED_PRECONDITION, saying what to do: the
  // lock is not held, a schema newer than this program, another program's database, one that is not in UTF-8.
  // UNAVAILABLE: PostgreSQL cannot be reached.
  static absl::StatusOr<std::unique_ptr<PostgresStore>> Open(const std::string& conninfo, ActiveLock& lock,
                                                             const process::Clock& clock,
                                                             PostgresStoreOptions options = {});

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

  PostgresStore(std::string conninfo, ActiveLock& lock, const process::Clock& clock, PostgresStoreOptions options)
      : conninfo_(std::move(conninfo)), lock_(lock), clock_(clock), options_(options) {}

  absl::StatusOr<std::unique_ptr<PostgresConnection>> Connect(std::chrono::milliseconds reply_timeout) const;
  // The connection that writes, opened anew if it was lost.
  absl::StatusOr<PostgresConnection*> Writer();

  absl::StatusOr<std::vector<PostgresStatement>> Statements(const Changes& changes) const;
  absl::Status LoadRest(PostgresConnection& connection, StoredState& stored);
  absl::Status LoadRows(PostgresConnection& connection, std::vector<LiveJob>& jobs, size_t first);
  absl::Status LoadTelemetry(PostgresConnection& connection, const std::vector<std::string>& ids,
                             std::vector<LiveJob>& jobs, size_t first);
  absl::StatusOr<std::vector<ArtifactWrite>> ReadArtifacts(std::string_view job_id, bool stored);
  absl::StatusOr<int64_t> LastSequence(Reader& reader, std::string_view job_id);
  Reader Read();

  const std::string conninfo_;
  ActiveLock& lock_;
  const process::Clock& clock_;
  const PostgresStoreOptions options_;
  std::unique_ptr<PostgresConnection> writer_;
  int64_t epoch_ = 0;  // 0: none was begun
  // A commit's outcome is unknown, and its transaction may still be running.
  bool suspect_ = false;

  RecentChunks chunks_;

  process::Mutex mutex_;
  process::CondVar reader_back_;
  std::vector<std::unique_ptr<PostgresConnection>> idle_readers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
