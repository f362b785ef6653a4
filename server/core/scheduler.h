#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "server/core/changes.h"
#include "server/core/job_needs.h"
#include "server/core/job_terms.h"

namespace mantissa::server {

// Both clocks as the caller read them: leases and waits are decided on `steady`, `wall` is only written down.
struct Moment {
  std::chrono::steady_clock::time_point steady;
  std::chrono::system_clock::time_point wall;
};

struct SchedulerOptions {
  std::chrono::milliseconds lease{30'000};
  std::chrono::milliseconds next_call{5'000};  // lease >= 6 x next_call
  std::chrono::milliseconds disconnect_grace{600'000};
  // An end waits this long for telemetry that its worker still has, so that who sees the end has seen everything.
  std::chrono::milliseconds end_grace{5'000};
  // Progress of a running job is stored about this often; records themselves are stored at once.
  std::chrono::milliseconds progress_interval{1'000};
  int32_t max_queued_jobs = 1'000'000;
  int32_t max_queued_jobs_per_tenant = 1'000'000;
  // How much waiting one point of priority outweighs.
  std::chrono::milliseconds priority_worth{600'000};
  // A job that stands first and finds no room for this long has a worker kept for it.
  std::chrono::milliseconds reserve_after{120'000};
  // Jobs of at least this priority may have one of a lesser priority than that stopped, with a checkpoint, to take its
  // device. Nobody may where it is absent.
  std::optional<int32_t> preempting_priority;
  int64_t epoch = 1;  // of this server process, from the store
};

struct QueueFilter;  // queue_filter.h

// Makes ids, tokens and etags; seeded in tests.
struct IdSource {
  std::function<std::string(std::chrono::system_clock::time_point)> job_id;  // 26 lower-case characters
  std::function<std::string()> token;                                        // 16 random bytes
};

// What the store holds of a job that has not ended.
struct LiveJob {
  v1::Job job;
  std::vector<v1::Attempt> attempts;                                   // with tokens
  std::vector<v1::Checkpoint> checkpoints;                             // committed, oldest first
  int64_t last_sequence = 0;                                           // newest stored telemetry entry of the job
  std::vector<std::pair<int32_t, int64_t>> durable_attempt_sequences;  // attempt -> newest stored entry
  JobTimes times;
  std::vector<ArtifactWrite> wanted_artifacts;  // of attempts that have ended; the job may have ended, too
};

// All of the store that a scheduler has in memory.
struct StoredState {
  std::vector<LiveJob> jobs;                 // that have not ended, or whose artifacts are still wanted
  std::vector<std::string> drained_workers;  // by an operator
  std::vector<v1::Checkpoint> orphans;       // of deleted jobs, to be deleted
};

// The workers that are known, as counts.
struct FleetSummary {
  int64_t connected = 0;     // and take work
  int64_t draining = 0;      // connected, and take none
  int64_t disconnected = 0;  // silent for a lease and not yet forgotten
  // The report of the worker that has been silent longest; absent where no worker has reported since the start.
  std::optional<std::chrono::steady_clock::time_point> oldest_report;
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

  // After a start; each live lease gets one full term from `now`. `revision_floor` is LastRevision() of the scheduler
  // that this one replaces within the same process.
  void Load(StoredState stored, Moment now, int64_t revision_floor = 0);

  // Specs are valid (proto/spec was asked) and `resolved` has every default. With a request_id, ask
  // JobStore::FindIdempotency first: what it knows is answered from the store (server/core/idempotency.h). Requests too
  // young to be found there are known here: the same request again returns the same job and changes nothing, another
  // one under the same id is INVALID_ARGUMENT.
  absl::StatusOr<v1::Job> Submit(const v1::JobSpec& spec, const v1::JobSpec& resolved, const std::string& tenant,
                                 const std::string& request_id, Moment now, Changes& changes);

  // A job that is to be: everything of it that can be made before its turn comes, by any thread.
  struct Submission {
    v1::Job head;  // what of the job follows from its spec, without the specs themselves
    std::string specs;
    JobTerms terms;
    JobNeeds needs;
    v1::InitFrom init;
    // What training.init_from names where it names a job, by the store; confirmed here and kept until this job ends.
    // UNAVAILABLE when it is being deleted just now.
    std::optional<v1::Checkpoint> init_from;
  };
  // `trace_id`: 32 lower-case hexadecimal digits, of the caller's own trace; empty: a new one.
  static Submission Prepare(const v1::JobSpec& spec, const v1::JobSpec& resolved,
                            std::optional<v1::Checkpoint> init_from = std::nullopt, const std::string& trace_id = "");

  // The scheduler's own; good until something else is asked of it.
  struct Submitted {
    const v1::Job* head = nullptr;
    const std::string* specs = nullptr;
    bool is_new = false;  // else an earlier request of this id has made it
  };
  // One request with many specs; nullopt where validation refused one, and what it comes to has no head. `request` is
  // RequestText of the whole request. All or none.
  absl::StatusOr<std::vector<Submitted>> SubmitBatch(std::vector<std::optional<Submission>> submissions,
                                                     const std::string& tenant, const std::string& request_id,
                                                     const std::string& request, Moment now, Changes& changes);

  // What is asked of a job that is there. NOT_FOUND is the caller's business: it is not here when it has ended. `etag`
  // empty: any; else ABORTED, reason ETAG_MISMATCH, when it is not the job's. FAILED_PRECONDITION, reason WRONG_STATE:
  // not in the state that the job is in. Asking for what is so already changes nothing and is answered with the job.
  absl::StatusOr<v1::Job> Pause(const std::string& job_id, const std::string& etag, Moment now, Changes& changes);
  absl::StatusOr<v1::Job> Resume(const std::string& job_id, const std::string& etag, Moment now, Changes& changes);
  absl::StatusOr<v1::Job> Requeue(const std::string& job_id, const std::string& etag, Moment now, Changes& changes);
  // Both specs differ from the job's in priority, labels, retry and timeouts at most, and are valid; `revision` is that
  // of the specs they were made from: ABORTED, reason ETAG_MISMATCH, when there has been another update since.
  absl::StatusOr<v1::Job> Update(const std::string& job_id, const std::string& etag, int32_t revision,
                                 const v1::JobSpec& spec, const v1::JobSpec& resolved, Moment now, Changes& changes);
  absl::StatusOr<v1::Job> Cancel(const std::string& job_id, const std::string& etag, Moment now, Changes& changes);
  // Cancels those of `job_ids` that are in one of `states` now; the others have moved on since they were listed and are
  // left alone, as is what CANCELLING already says. Returns whom it cancelled, in the order given; with `validate_only`
  // whom it would have, and nothing changes.
  std::vector<std::string> CancelThose(const std::vector<std::string>& job_ids, const std::set<v1::Job::State>& states,
                                       bool validate_only, Moment now, Changes& changes);

  // Of a job that has ended, with the checkpoints that the store knows of it. NOT_FOUND when it was deleted just now;
  // FAILED_PRECONDITION while a live job begins from it (IN_USE), or when it is live itself (WRONG_STATE).
  absl::Status Delete(const JobDeletion& deletion, const std::vector<v1::Checkpoint>& checkpoints, Moment now,
                      Changes& changes);

  // NOT_FOUND for a worker that was never heard of, which may only be undone.
  absl::StatusOr<v1::Worker> DrainWorker(const std::string& worker_id, bool undo, Moment now, Changes& changes);

  // The worker's report is taken in: leases extended, ends recorded, losses noticed. The answer is made apart, by
  // DesiredState, after placement has run. ABORTED, reason SUPERSEDED, for a lower report number or an older session.
  absl::Status Report(const v1::SynchronizeRequest& request, Moment now, Changes& changes);

  // The whole desired state of a worker. `revision` of it grows whenever it changes.
  v1::SynchronizeResponse DesiredState(const std::string& worker_id, Moment now) const;
  int64_t DesiredRevision(const std::string& worker_id) const;
  // Of all workers. Revisions grow over restarts, too: the epoch is their upper half.
  int64_t LastRevision() const;

  // Checks the fence, drops overlap, refuses a hole (OUT_OF_RANGE), numbers what is new. Returns durable_through as it
  // will be after the commit. ABORTED, reason LEASE_LOST, for a stale attempt. With no segments: the high-water mark.
  absl::StatusOr<int64_t> AppendTelemetry(const v1::AttemptRef& ref, std::vector<v1::Segment> segments, Moment now,
                                          Changes& changes);

  absl::StatusOr<v1::CommitCheckpointResponse> CommitCheckpoint(const v1::CommitCheckpointRequest& request, Moment now,
                                                                Changes& changes);

  // Before an artifact's first byte is taken: that its attempt may speak (LEASE_LOST), and that a file of this name,
  // size and hash is asked for and not yet here (FAILED_PRECONDITION), so that no upload replaces another's file.
  absl::Status CheckWanted(const v1::AttemptRef& ref, const v1::Artifact& artifact) const;
  // The file is on the server's disk, synced. Refuses what CheckWanted refuses.
  absl::Status RecordArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact, Moment now, Changes& changes);

  // ABORTED, reason LEASE_LOST, when `ref` may no longer say anything: it is neither a live attempt nor one whose end
  // its worker has reported and not yet been told to forget (its logs and artifacts may still come).
  absl::Status CheckFence(const v1::AttemptRef& ref) const;
  // Whether a worker that is there may still say something of an attempt, its last words among it: an attempt that has
  // ended is held until its worker has sent them.
  bool MaySpeak(const std::string& job_id, int32_t attempt) const;

  // Lease expiry, back-offs, timeouts, stalls.
  void Tick(Moment now, Changes& changes);

  // Gives queued jobs to free devices. Runs before every commit, so that a submit and its assignment share one.
  void Place(Moment now, Changes& changes);

  // When Tick has something to do next; max() for nothing.
  std::chrono::steady_clock::time_point NextDeadline() const;

  // Live views, for reads that decorate stored rows. Decorate fills in what is newer here than in the store, or not
  // stored at all: queue position, why the job waits, progress.
  void Decorate(v1::Job& job, Moment now) const;
  int32_t QueuePosition(const std::string& job_id) const;
  // How many jobs that could be placed now, but for the lack of a free device, pass the filter; counting ends at
  // `most`. Takes as long as there are kinds of needs, with a tenant or labels of jobs as there are jobs that wait.
  int64_t CountQueued(const QueueFilter& filter, int64_t most) const;
  std::vector<v1::Worker> Workers(Moment now) const;
  FleetSummary Fleet(Moment now) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mantissa::server
