#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::server {

// What must be true of the stored attempt for a write to it to count: the fence (Note [Lease fencing]).
struct AttemptGuard {
  std::string token;                       // 16 bytes
  std::vector<v1::Attempt::State> states;  // any of these
};

// A new attempt has no guard; its number must be one more than the job's newest.
struct AttemptWrite {
  v1::Attempt attempt;  // placements carry the token
  std::optional<AttemptGuard> guard;
};

// How long a job has waited and lived, without the time no server ran: kept as durations, so that no decision rests on
// a wall clock that may jump.
struct JobTimes {
  std::chrono::milliseconds queued{0};  // over all its waits
  std::chrono::milliseconds total{0};   // since submit
};

// A job row to insert or replace. `expected_etag` is what the stored row must still have; empty for a new job.
// The etag covers spec and state; progress and the sentence why a job waits are written without a new one.
struct JobWrite {
  v1::Job job;  // without its specs, which are most of it and seldom written
  std::string expected_etag;
  JobTimes times;
  // Of a new job, and of one whose specs or labels have changed: a Job with its specs and nothing else, serialised.
  std::string specs;
};

// Entries of a job's telemetry, already numbered: `segment.first_sequence` is set.
struct TelemetryWrite {
  std::string job_id;
  v1::Segment segment;
};

// An operator wants a worker empty, or no longer.
struct DrainWrite {
  std::string worker_id;
  bool drained = true;
};

// A job that has ended and that nobody is to see any more.
struct JobDeletion {
  std::string job_id;
  std::string expected_etag;
  std::string tenant;  // whose it was
};

// Takes a bounded number of a deleted job's rows of telemetry; with `last`, when there are none, all the rest of it but
// for checkpoints whose files are there, and the job itself when there are none of these.
struct JobSweep {
  std::string job_id;
  bool last = false;
};

// Puts one row in the place of several of a job's telemetry, which holds the same records and gaps in less; see Note
// [Compaction]. It is left alone where they are no longer the rows that they were.
struct TelemetryCompaction {
  std::string job_id;
  int64_t first_sequence = 0;  // of the first row
  int64_t last_sequence = 0;   // of the last row
  int64_t rows = 0;
  std::string chunk;
};

struct IdempotencyWrite {
  std::string tenant;
  std::string request_id;
  std::string request;               // RequestText of what was asked for
  std::vector<std::string> job_ids;  // in order; empty string where a spec was refused
};

struct ArtifactWrite {
  enum class Kind {
    kWanted,  // named by a worker at the attempt's end, asked for until it is here
    kStored,  // the file is on the server's disk
    kLost,    // wanted, but the worker no longer has it
  };
  std::string job_id;
  int32_t attempt = 0;
  v1::Artifact artifact;
  Kind kind = Kind::kStored;
};

// What a study has found. The report of a later attempt takes the place of an earlier one's.
struct ReportWrite {
  std::string job_id;
  int32_t attempt = 0;
  int64_t create_micros = 0;  // since 1970
  std::string report;         // serialised
};

// Everything one decision, or one batch of them, wants stored. Plain data: the core makes it, a JobStore commits it as
// one transaction, and after that its listeners learn of it. Nothing in here is visible to anyone before.
struct Changes {
  std::vector<JobWrite> jobs;
  std::vector<AttemptWrite> attempts;
  std::vector<v1::Checkpoint> checkpoints;
  std::vector<std::string> deleted_checkpoints;  // "<job id>/<checkpoint name>"
  std::vector<ArtifactWrite> artifacts;
  std::vector<ReportWrite> reports;
  std::vector<TelemetryWrite> telemetry;
  std::vector<IdempotencyWrite> idempotency;
  // Nothing but a look whether anything can be stored.
  bool probe = false;
  std::vector<DrainWrite> drains;
  std::vector<JobDeletion> deletions;
  std::vector<JobSweep> sweeps;
  std::vector<TelemetryCompaction> compactions;
  std::vector<std::string> compacted_jobs;  // that have ended: there is nothing left to do for them
  // Workers whose desired state has changed; not stored, tells listeners whom to answer.
  std::set<std::string> touched_workers;
  // Jobs of attempts that their worker speaks of no more, not even of what they printed last; not stored, for listeners
  // that wait for that.
  std::set<std::string> silent_jobs;
  // Attempts among the lost whose lease ran out; not stored, for listeners that count.
  int32_t lease_expiries = 0;

  // A job is written once a transaction however often it moved in it: later states replace earlier ones.
  // `head` has no specs.
  void PutJob(const v1::Job& head, std::string expected_etag, JobTimes times);
  // Of a job that PutJob was given, and that is new or has other specs than are stored: EncodeSpecs of them.
  void PutSpecs(const std::string& job_id, std::string specs);
  // What PutJob was given of a job, to be amended; null: nothing.
  JobWrite* FindJob(const std::string& job_id);
  std::unordered_map<std::string, size_t> job_index;  // of PutJob

  bool NeedsCommit() const {
    return !jobs.empty() || !attempts.empty() || !checkpoints.empty() || !deleted_checkpoints.empty() ||
           !artifacts.empty() || !reports.empty() || !telemetry.empty() || !idempotency.empty() || !drains.empty() ||
           !deletions.empty() || !sweeps.empty() || !compactions.empty() || !compacted_jobs.empty();
  }
};

}  // namespace mantissa::server
