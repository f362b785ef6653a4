#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "server/core/changes.h"
#include "server/core/scheduler.h"

namespace mantissa::server {

struct JobPage {
  std::vector<v1::Job> jobs;  // newest first
  bool more = false;
};

// One stored row of a job's records and gaps.
struct TelemetryRun {
  int64_t first_sequence = 0;
  int64_t last_sequence = 0;  // events may lie between, in rows of their own
  int64_t bytes = 0;
  bool compact = false;
  bool thinned = false;  // a compact one whose records are gone, but for rows that stand for many
};

struct TelemetryPage {
  std::vector<v1::Segment> segments;  // in order, numbered
  int64_t last_sequence = 0;          // newest stored entry of the job at the time of the read
};

// A job that was deleted and is not yet gone.
struct DeletedJob {
  std::string job_id;
  bool has_telemetry = false;
  bool has_checkpoints = false;  // their files are there, or their storage has not been seen since
};

// Which of the jobs that have ended are to go.
struct RetentionQuery {
  int64_t ended_before_micros = 0;  // since 1970
  int64_t keep_newest = 0;          // those beyond this many go, too; 0: however many they are
};

// What outlives every process: jobs, attempts, checkpoints, artifacts, reports, telemetry, idempotency keys.
//
// Commit is called by one thread at a time; reads may come from any thread at any time and see only what is durable.
class JobStore {
 public:
  virtual ~JobStore() = default;

  // All or nothing, durable when it returns OK. A guard that does not hold is ABORTED and nothing is written.
  // RESOURCE_EXHAUSTED (disk full) and UNAVAILABLE (busy): certainly rolled back. UNKNOWN: the outcome is not known,
  // and what was in memory must be loaded anew.
  virtual absl::Status Commit(const Changes& changes) = 0;

  // For Scheduler::Load.
  virtual absl::StatusOr<StoredState> Load() = 0;
  // One more than at the last start; stored.
  virtual absl::StatusOr<int64_t> BeginEpoch() = 0;
  virtual absl::StatusOr<int32_t> SchemaVersion() = 0;

  // NOT_FOUND for another tenant's, too. An empty tenant sees all.
  virtual absl::StatusOr<v1::Job> GetJob(std::string_view job_id, std::string_view tenant) = 0;
  // Before the job `before_id` (ULIDs sort by age); empty: from the newest.
  virtual absl::StatusOr<JobPage> ListJobs(std::string_view tenant, const v1::JobFilter& filter,
                                           std::string_view before_id, int32_t limit) = 0;
  virtual absl::StatusOr<std::optional<IdempotencyWrite>> FindIdempotency(std::string_view tenant,
                                                                          std::string_view request_id) = 0;
  // Tokens are left out.
  virtual absl::StatusOr<std::vector<v1::Attempt>> ListAttempts(std::string_view job_id) = 0;
  // Newest first.
  virtual absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints(std::string_view job_id) = 0;
  // Files that are here. Those of a later attempt replace those of an earlier one with the same name.
  virtual absl::StatusOr<std::vector<ArtifactWrite>> ListArtifacts(std::string_view job_id) = 0;
  // Files that a worker has been asked for: a download of one of these is UNAVAILABLE rather than NOT_FOUND.
  virtual absl::StatusOr<std::vector<ArtifactWrite>> ListWantedArtifacts(std::string_view job_id) = 0;
  // What a study has found; nothing where it has not said so yet, or is none.
  virtual absl::StatusOr<std::optional<v1::Report>> GetReport(std::string_view job_id) = 0;
  // Entries with sequence >= from, about `max_bytes` of them, whole segments cut to begin at `from`.
  virtual absl::StatusOr<TelemetryPage> ReadTelemetry(std::string_view job_id, int64_t from, int64_t max_bytes) = 0;
  // Segments that are events, from sequence `from` on.
  virtual absl::StatusOr<TelemetryPage> ListEvents(std::string_view job_id, int64_t from,
                                                   v1::JobEvent::Severity min_severity, int32_t limit) = 0;
  // Events with a sequence from `from` through `through`.
  virtual absl::StatusOr<int64_t> CountEvents(std::string_view job_id, int64_t from, int64_t through) = 0;

  // Rows of records and gaps that begin at sequence `from` or later, in order; see Note [Compaction].
  virtual absl::StatusOr<std::vector<TelemetryRun>> ListTelemetryRuns(std::string_view job_id, int64_t from,
                                                                      int32_t limit) = 0;
  // Jobs that have ended whose telemetry nobody has seen to yet, in order of their ids, after this one.
  virtual absl::StatusOr<std::vector<std::string>> ListUncompactedJobs(std::string_view after_id, int32_t limit) = 0;

  // In order of their ids, after this one.
  virtual absl::StatusOr<std::vector<DeletedJob>> ListDeletedJobs(std::string_view after_id, int32_t limit) = 0;
  // Those that ended first come first.
  virtual absl::StatusOr<std::vector<JobDeletion>> ListExpiredJobs(const RetentionQuery& query, int32_t limit) = 0;
};

}  // namespace mantissa::server
