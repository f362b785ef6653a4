// What a FakeStore keeps.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "server/store/job_store.h"

namespace mantissa::server {

// A value: a transaction is a copy that is changed, and kept only when all of it could be. Not thread-safe.
struct FakeTables {
  struct Record {
    v1::Job job;
    JobTimes times;
    std::map<int32_t, v1::Attempt> attempts;
    std::map<std::tuple<int32_t, int32_t, std::string>, v1::Checkpoint> checkpoints;  // (attempt, step, name)
    std::map<std::pair<int32_t, std::string>, ArtifactWrite> artifacts;               // (attempt, name)
    std::optional<v1::Report> report;
    std::vector<v1::Segment> telemetry;
    std::map<int64_t, TelemetryCompaction> chunks;  // by their first sequence; what they hold stays in `telemetry`
    bool uncompacted = false;
    bool deleted = false;

    int64_t LastSequence() const;  // 0: no telemetry yet
    std::vector<TelemetryRun> Runs() const;
  };

  std::map<std::string, Record, std::less<>> records;                        // by job id
  std::map<std::pair<std::string, std::string>, IdempotencyWrite> requests;  // (tenant, request id)
  std::set<std::string> drained;                                             // worker ids

  // All of it, or ABORTED at the first guard that does not hold, as JobStore::Commit says; then these tables are of no
  // use.
  absl::Status Apply(const Changes& changes);

 private:
  absl::Status PutJob(const JobWrite& write);
  absl::Status PutAttempt(const AttemptWrite& write);
  absl::Status PutCheckpoint(const v1::Checkpoint& checkpoint);
  absl::Status EraseCheckpoint(const std::string& deleted);
  absl::Status PutArtifact(const ArtifactWrite& write);
  absl::Status PutReport(const ReportWrite& write);
  absl::Status AppendTelemetry(const TelemetryWrite& write);
  absl::Status PutRequest(const IdempotencyWrite& write);
  absl::Status Compact(const TelemetryCompaction& compaction);
  absl::Status MarkCompacted(const std::string& job_id);
  absl::Status DeleteJob(const JobDeletion& deletion);
  absl::Status Sweep(const JobSweep& sweep);
  absl::Status PutDrain(const DrainWrite& write);
};

}  // namespace mantissa::server
