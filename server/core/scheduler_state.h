// The memory of the Scheduler and the steps its calls are made of. Private to scheduler*.cc; a file there holds one
// concern: moves, submit, what users and operators ask of jobs and workers, report, revival, telemetry, checkpoints,
// placement, desired state, tick.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "server/core/job_needs.h"
#include "server/core/job_queue.h"
#include "server/core/job_state.h"
#include "server/core/placement.h"
#include "server/core/scheduler.h"
#include "server/core/worker_groups.h"

namespace mantissa::server {

using SteadyTime = std::chrono::steady_clock::time_point;
using AttemptKey = std::pair<std::string, int32_t>;  // job id, attempt number

// Why something moved, as it is recorded.
struct Because {
  v1::Reason::Code reason = v1::Reason::REASON_UNSPECIFIED;
  std::string message;
};

// The attempt of a job that has not ended yet.
struct LiveAttempt {
  v1::Attempt attempt;
  SteadyTime assigned_at;
  SteadyTime progressed_at;  // last new iteration; from RUNNING on
  SteadyTime lease_expiry;
  int64_t assigned_revision = 0;
  bool acknowledged = false;    // a report has named it
  int64_t durable_through = 0;  // attempt_sequence of the newest telemetry that is stored or about to be

  // Its worker has said that it ended; recorded when its telemetry is here, or at the deadline.
  struct ReportedEnd {
    v1::AttemptReport report;
    SteadyTime deadline;
  };
  std::optional<ReportedEnd> end;

  // Why its worker was asked to stop it with a checkpoint. Kept when that is no longer wanted: a stop that was under
  // way already is as free as one that is.
  std::optional<v1::Reason::Code> asked_to_stop;
  bool stop_wanted = false;  // though the job goes on: it is to run elsewhere, or later
  int32_t declined_stops = 0;

  const v1::Placement& placement() const { return attempt.placements(0); }
};

// A job that has not ended. Entries that have ended stay until Sweep, at the end of the call that ended them.
struct JobEntry {
  v1::Job job;        // without its specs
  std::string specs;  // EncodeSpecs of them
  JobTerms terms;
  JobNeeds needs;
  std::optional<LiveAttempt> live;
  std::optional<LiveAttempt> lost;          // its newest attempt, while it waits; Note [Revival]
  std::vector<v1::Checkpoint> checkpoints;  // committed, oldest first
  int64_t last_sequence = 0;
  int32_t counted_ends = 0;  // attempts that used up a retry
  JobTimes times;            // as of times_at
  SteadyTime times_at;
  SteadyTime ready_at;  // while in BACKOFF
  bool progress_unsaved = false;
  SteadyTime progress_saved_at;
  SteadyTime deadline = SteadyTime::max();  // its place in State::deadlines

  AttemptKey key() const { return {job.id(), live ? live->attempt.number() : job.attempt()}; }
};

// An attempt that a worker has, may have, or may be about to have.
struct HeldAttempt {
  enum class Standing {
    kLive,
    kEnded,      // by its worker's word; the worker may speak for it until it forgets it
    kDismissed,  // by the server's decision; its device is not free before the worker no longer reports it
  };
  v1::AttemptRef ref;
  std::string device_id;
  int64_t memory_bytes = 0;
  Standing standing = Standing::kLive;
  int64_t dismissed_revision = 0;
  std::vector<v1::Artifact> wanted;
};

struct OwedDeletion {
  v1::CheckpointDeletion deletion;
  v1::Checkpoint checkpoint;
  // A report with this applied_revision or a later one says that it is done.
  int64_t revision = 0;
};

struct WorkerEntry {
  v1::Worker worker;  // as reported
  std::string kind;   // of `worker`; Note [Worker groups]
  std::set<std::string> storage_ids;
  std::string session_id;  // empty: not heard of since this scheduler was loaded
  std::deque<std::string> former_sessions;
  int64_t report_number = 0;
  int64_t applied_revision = 0;
  int64_t revision = 0;  // of its desired state
  SteadyTime last_seen;
  bool present = false;  // heard of lately enough to be given work
  std::map<AttemptKey, HeldAttempt> held;
  std::vector<OwedDeletion> deletions;
  std::set<AttemptKey> strangers;           // reported last, and not held by it
  SteadyTime deadline = SteadyTime::max();  // its place in State::worker_deadlines
};

struct Scheduler::State {
  SchedulerOptions options;
  IdSource ids;
  std::unordered_map<std::string, JobEntry> jobs;
  std::map<std::string, WorkerEntry> workers;
  std::map<AttemptKey, std::string> holders;  // attempt -> worker, of everything in WorkerEntry::held
  WorkerGroups groups;                        // of the workers that were heard of
  JobQueue queue;
  std::set<std::pair<SteadyTime, std::string>> deadlines;         // of jobs
  std::set<std::pair<SteadyTime, std::string>> worker_deadlines;  // see Refresh
  int64_t last_revision = 0;

  // What placement has to look at again.
  bool placement_due = false;
  bool workers_changed = false;  // the sentences why jobs wait may be wrong
  std::optional<Reservation> reserved;
  SteadyTime reserve_at = SteadyTime::max();       // when the first in order has waited long enough
  std::pair<std::string, SteadyTime> reserve_for;  // the job that this was found out for, and its own time
  std::vector<std::string> newly_ready;            // jobs that have no sentence yet
  std::map<std::string, WaitReason> waits;         // class -> sentence

  std::vector<std::string> ended;  // jobs for Sweep

  // Checkpoints of deleted jobs, whose storage no worker that is present reaches.
  std::vector<v1::Checkpoint> orphans;
  // Jobs deleted lately; oldest first, bounded.
  std::set<std::string> deleted;
  std::deque<std::string> deleted_order;

  std::set<std::string> drained;  // workers that an operator wants empty, known or not

  // Checkpoints that live jobs begin from, by the job that made them: how many begin from each.
  std::map<std::string, std::map<std::string, int>> pins;

  // Requests too young to be sure to be found in the store; oldest first, bounded.
  std::map<std::pair<std::string, std::string>, IdempotencyWrite> recent_requests;  // (tenant, request id)
  std::deque<std::pair<std::string, std::string>> recent_order;
  size_t recent_bytes = 0;

  // scheduler_moves.cc
  void Move(JobEntry& entry, JobPosition to, Mover mover, const Because& job_because, const Because& attempt_because,
            Moment now, Changes& changes);
  // The attempt is over; the job ends, or goes back to the queue as the retry policy says.
  void EndAttempt(JobEntry& entry, v1::Attempt::State state, const Because& because, Mover mover, Moment now,
                  Changes& changes);
  // EndAttempt by the server's own decision: the worker is not asked, its zombie is dismissed.
  void Dismiss(JobEntry& entry, v1::Attempt::State state, const Because& because, Mover mover, Moment now,
               Changes& changes);
  void PutJob(JobEntry& entry, bool new_etag, Moment now, Changes& changes);
  void PutProgress(JobEntry& entry, Moment now, Changes& changes);
  void AppendSegment(JobEntry& entry, v1::Segment segment, Changes& changes);
  void Accrue(JobEntry& entry, Moment now);
  void Enqueue(JobEntry& entry, Moment now);
  int64_t RankOf(const JobEntry& entry) const;
  // Marks the worker's desired state as changed and returns its new revision. Whatever changed it is in the entry.
  int64_t Touch(WorkerEntry& worker, Changes& changes);
  void DropHeld(WorkerEntry& worker, const AttemptKey& key, Changes& changes);
  void UpdateDeadline(JobEntry& entry);
  void Sweep();

  // scheduler_submit.cc
  absl::StatusOr<std::vector<Submitted>> Repeat(const IdempotencyWrite& known, const std::string& request) const;
  void Remember(const IdempotencyWrite& write);

  // scheduler_requests.cc
  absl::StatusOr<JobEntry*> FindForRequest(const std::string& job_id, const std::string& etag);
  // Of a job that IsCancellable.
  void Cancel(JobEntry& entry, Moment now, Changes& changes);
  // Of a job with a live attempt that is to leave its device.
  void AskToStop(JobEntry& entry, v1::Reason::Code why, Changes& changes);

  // scheduler_delete.cc
  bool IsOwed(const v1::Checkpoint& checkpoint) const;
  // Whatever of the orphans this worker can reach is its to delete.
  void OweOrphans(WorkerEntry& worker, Changes& changes);

  // scheduler_workers.cc
  bool IsDraining(const WorkerEntry& worker) const;
  bool IsConnected(const WorkerEntry& worker, Moment now) const;
  v1::Worker View(const WorkerEntry& worker, Moment now) const;

  // scheduler_report.cc
  void TakeReported(WorkerEntry& worker, const AttemptKey& key, const v1::AttemptReport& report, Moment now,
                    Changes& changes);
  void TakeMissing(WorkerEntry& worker, const AttemptKey& key, bool new_session, Moment now, Changes& changes);
  void TakePrecision(const v1::AttemptReport& report, JobEntry& entry);
  void RecordReportedEnd(JobEntry& entry, Moment now, Changes& changes);
  // What a study has found, to be stored; returns what is wrong with it, or with there being none: empty when nothing
  // is.
  std::string TakeStudyReport(JobEntry& entry, const v1::AttemptReport& report, Moment now, Changes& changes);
  void TakeDeclinedStop(JobEntry& entry, Moment now, Changes& changes);

  // scheduler_revival.cc
  HeldAttempt& Hold(const v1::Attempt& attempt, int64_t memory_bytes, Moment now);
  // The job whose lost attempt this is; null: of none, or too late.
  JobEntry* FindLost(const v1::AttemptRef& ref);
  void Revive(JobEntry& entry, Moment now, Changes& changes);
  // FindLive, after a lost attempt that is heard of again was revived.
  absl::StatusOr<JobEntry*> FindOrRevive(const v1::AttemptRef& ref, Moment now, Changes& changes);

  // scheduler_interventions.cc
  // Ends the attempt and begins the next lineage, where the spec has an intervention for what is reported; else false,
  // and nothing has changed.
  bool Intervene(JobEntry& entry, const v1::AttemptReport& report, Moment now, Changes& changes);
  // The checkpoint that a lineage starts from after a failure at `iteration`; what was made after it is abandoned.
  std::string GoBack(JobEntry& entry, int32_t iteration, Changes& changes) const;
  // The next attempt of a queued job on the device it had, where that still takes work.
  void AssignAgain(JobEntry& entry, const v1::Placement& placement, Moment now, Changes& changes);

  // scheduler_telemetry.cc
  absl::StatusOr<JobEntry*> FindLive(const v1::AttemptRef& ref);
  const HeldAttempt* FindHeld(const v1::AttemptRef& ref) const;
  void MarkRunning(JobEntry& entry, Moment now, Changes& changes);
  // Of what `attempt` has not delivered, through `to`; 0: whatever it may be.
  void WriteGap(JobEntry& entry, LiveAttempt& attempt, int64_t to, const std::string& reason, Changes& changes);
  // Of an attempt that can say nothing more and has not said how much there was.
  void WriteLostTail(JobEntry& entry, LiveAttempt& attempt, Changes& changes);

  // scheduler_checkpoints.cc
  std::vector<v1::Checkpoint> ResumeFrom(const JobEntry& entry, const WorkerEntry& worker) const;
  void RefreshStorage(JobEntry& entry) const;
  void OweDeletions(JobEntry& entry, WorkerEntry& worker, Changes& changes);
  void ForgetCheckpoint(const v1::CheckpointDeletion& deletion, Changes& changes);
  std::vector<size_t> Deletable(const JobEntry& entry) const;
  // What `init_from` names as of now; `found` is what the store said a moment ago.
  absl::StatusOr<v1::Checkpoint> ConfirmInitial(const v1::InitFrom& init_from, const v1::Checkpoint& found) const;
  void Pin(const v1::Job& job);
  void Unpin(const v1::Job& job);

  // scheduler_views.cc
  // After every change of an entry that placement or the clock looks at: puts it where it belongs now.
  void Refresh(WorkerEntry& worker);
  // Neither its group nor its deadline is of the past.
  bool IsFresh(const WorkerEntry& worker) const;
  std::string GroupKind(const WorkerEntry& worker) const;
  WorkerGroups::Burden BurdenOf(const WorkerEntry& worker) const;
  bool TakesWork(const WorkerEntry& worker) const;
  WorkerView PlacementView(const WorkerEntry& worker, Moment now) const;
  std::vector<WorkerView> PlacementViews(const std::vector<std::string>& ids, Moment now) const;
  std::vector<WorkerView> AllPlacementViews(Moment now) const;
  // The heads of all classes, and of the workers those that one of them may be given to.
  PlacementSnapshot Snapshot(Moment now) const;
  // Of each group one, busy or not, and of those that reach the job's storage.
  std::vector<WorkerView> PossibleWorkers(const JobNeeds& needs, Moment now) const;
  RunningView Running(const AttemptKey& key, const HeldAttempt& held, size_t device, Moment now) const;

  // scheduler_place.cc
  // Keeps a worker for the first in order once it has waited too long, and until it waits no more.
  void Reserve(Moment now);
  // Asks the least important to leave where a job may take another's device.
  void Preempt(Moment now, Changes& changes);
  void Assign(JobEntry& entry, WorkerEntry& worker, const std::string& device_id, bool from_scratch, Moment now,
              Changes& changes);
  void ExplainWaits(Moment now, Changes& changes);

  // scheduler_tick.cc
  void CheckTimes(JobEntry& entry, Moment now, Changes& changes);
  SteadyTime NextDeadlineOf(const JobEntry& entry) const;
  SteadyTime NextDeadlineOf(const WorkerEntry& worker) const;
  void ForgetWorker(WorkerEntry& worker, Changes& changes);

  // scheduler.cc
  void LoadJob(LiveJob loaded, Moment now);
};

// Ends the process: the memory contradicts itself, and whatever it wrote next would be wrong.
void Require(bool condition, const char* what);

// Stands in every view of its job; what a trainer has to say at length is in its log.
inline constexpr size_t kMaxMessageBytes = 4'096;

// Equal for workers that can run the same jobs equally well, whatever storage they reach.
std::string KindOf(const v1::Worker& worker);

// The storage that the job's next attempt needs.
bool ReachesStorage(const WorkerEntry& worker, const JobEntry& entry);

bool ReachesRoot(const WorkerEntry& worker, const std::string& storage_id);

OwedDeletion OwedFor(const v1::Checkpoint& checkpoint, const v1::AttemptRef& ref, int64_t revision);

// kNoLimit where there is none.
std::chrono::milliseconds AttemptLimit(const JobEntry& entry);

absl::Status LeaseLost(const v1::AttemptRef& ref);

}  // namespace mantissa::server
