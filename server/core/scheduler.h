#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "server/core/changes.h"

namespace mantissa::server {

// Both clocks as the caller read them: leases and waits are decided on `steady`, `wall` is only written down.
struct Moment {
  std::chrono::steady_clock::time_point steady;
  std::chrono::system_clock::time_point wall;
};

struct SchedulerOptions {
  std::chrono::milliseconds lease{30'000};
  std::chrono::milliseconds next_call{5'000};        // lease >= 6 x next_call
  std::chrono::milliseconds disconnect_grace{600'000};
  int32_t max_queued_jobs = 1'000'000;
  int64_t epoch = 1;                                 // of this server process, from the store
};

// Makes ids, tokens and etags; seeded in tests.
struct IdSource {
  std::function<std::string(std::chrono::system_clock::time_point)> job_id;  // 26 lower-case characters
  std::function<std::string()> token;                                        // 16 random bytes
};

// What the store holds of jobs that have not ended, for Scheduler::Load.
struct LiveJob {
  v1::Job job;
  std::vector<v1::Attempt> attempts;          // with tokens
  std::vector<v1::Checkpoint> checkpoints;    // committed, oldest first
  int64_t last_sequence = 0;                  // newest stored telemetry entry of the job
  std::vector<std::pair<int32_t, int64_t>> durable_attempt_sequences;  // attempt -> newest stored entry
};

// Every decision of the control plane: jobs, attempts, leases, checkpoints, the numbering of telemetry.
//
// A call decides on the state in memory and appends to `changes` what must be stored; it has no other effect that
// anybody can see. The caller commits `changes` and then releases the replies. When a commit fails, what is in memory
// is no longer true: drop the scheduler, and Load a new one from the store.
//
// Time is an argument, ids come from IdSource. Not thread-safe: one thread owns it.
class Scheduler {
 public:
  Scheduler(SchedulerOptions options, IdSource ids);
  ~Scheduler();

  // After a start: every job that has not ended; each live lease gets one full term from `now`.
  void Load(std::vector<LiveJob> jobs, Moment now);

  // Requests are valid (proto/spec was asked) and `resolved` has every default. `known` is what the store has under
  // (tenant, request_id), if anything: the same request again returns the same job and changes nothing, another one is
  // INVALID_ARGUMENT.
  absl::StatusOr<v1::Job> Submit(const v1::JobSpec& spec, const v1::JobSpec& resolved, const std::string& tenant,
                                 const std::string& request_id, Moment now, Changes& changes);

  // NOT_FOUND is the caller's business: the job is not here when it has ended. `etag` empty: any.
  absl::StatusOr<v1::Job> Cancel(const std::string& job_id, const std::string& etag, Moment now, Changes& changes);

  // The worker's report is taken in: leases extended, ends recorded, losses noticed. The answer is made apart, by
  // DesiredState, after placement has run. ABORTED, reason SUPERSEDED, for a lower report number or an older session.
  absl::Status Report(const v1::SynchronizeRequest& request, Moment now, Changes& changes);

  // The whole desired state of a worker. `revision` of it grows whenever it changes.
  v1::SynchronizeResponse DesiredState(const std::string& worker_id, Moment now) const;
  int64_t DesiredRevision(const std::string& worker_id) const;

  // Checks the fence, drops overlap, refuses a hole (OUT_OF_RANGE), numbers what is new. Returns durable_through as it
  // will be after the commit. ABORTED, reason LEASE_LOST, for a stale attempt. With no segments: the high-water mark.
  absl::StatusOr<int64_t> AppendTelemetry(const v1::AttemptRef& ref, std::vector<v1::Segment> segments, Moment now,
                                          Changes& changes);

  absl::StatusOr<v1::CommitCheckpointResponse> CommitCheckpoint(const v1::CommitCheckpointRequest& request, Moment now,
                                                                Changes& changes);

  // The file is on the server's disk, synced.
  absl::Status RecordArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact, Moment now, Changes& changes);

  // ABORTED, reason LEASE_LOST, when `ref` is not a live attempt of its job.
  absl::Status CheckFence(const v1::AttemptRef& ref) const;

  // Lease expiry, back-offs, timeouts, stalls.
  void Tick(Moment now, Changes& changes);

  // Gives queued jobs to free devices. Runs before every commit, so that a submit and its assignment share one.
  void Place(Moment now, Changes& changes);

  // When Tick has something to do next; max() for nothing.
  std::chrono::steady_clock::time_point NextDeadline() const;

  // Live views, for reads that decorate stored rows.
  int32_t QueuePosition(const std::string& job_id) const;
  std::vector<v1::Worker> Workers(Moment now) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mantissa::server
