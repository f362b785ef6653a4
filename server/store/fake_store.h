// A store for tests: the same promises as the real ones, kept in memory, and failures on demand.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "process/mutex.h"
#include "server/store/fake_tables.h"
#include "server/store/job_store.h"

namespace mantissa::server {

// Thread-safe.
class FakeStore final : public JobStore {
 public:
  // The next commits fail with these, in order, and change nothing.
  void FailCommit(absl::Status status);
  void FailLoads(int count);
  int commits() const;

  absl::Status Commit(const Changes& changes) override;
  absl::StatusOr<StoredState> Load() override;
  absl::StatusOr<int64_t> BeginEpoch() override;
  absl::StatusOr<int32_t> SchemaVersion() override { return 1; }
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
  const FakeTables::Record* FindLocked(std::string_view job_id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<ArtifactWrite> ArtifactsLocked(std::string_view job_id, ArtifactWrite::Kind kind) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable process::Mutex mutex_;
  FakeTables tables_ ABSL_GUARDED_BY(mutex_);
  std::deque<absl::Status> failures_ ABSL_GUARDED_BY(mutex_);
  int failing_loads_ ABSL_GUARDED_BY(mutex_) = 0;
  int commits_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mantissa::server
