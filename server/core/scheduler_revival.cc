// Attempts that were taken for lost and are heard of again.
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/ids.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {

// Note [Revival]
//
// A lease that runs out says that its worker was not heard of, not that its trainer has stopped: on the other side of a
// cut network it trains on. So a lost attempt keeps its number and token until the job is given its next number, and
// the first word that its worker says for it by then (a report, a checkpoint, telemetry) makes it the live one again,
// at no cost of a retry. When the job has another attempt, or no longer waits, it is too late, and the old one gets
// LEASE_LOST (Note [Lease fencing]): the number that decides is taken and given up by one thread.
HeldAttempt& Scheduler::State::Hold(const v1::Attempt& attempt, int64_t memory_bytes, Moment now) {
  const v1::Placement& placement = attempt.placements(0);
  auto [found, is_new] = workers.try_emplace(placement.worker_id());
  WorkerEntry& worker = found->second;
  if (is_new) {
    worker.worker.set_id(placement.worker_id());
    worker.last_seen = now.steady;
  }
  worker.revision = ++last_revision;
  const AttemptKey key(attempt.job_id(), attempt.number());
  holders[key] = placement.worker_id();
  HeldAttempt& held = worker.held[key];
  held.ref.set_job_id(attempt.job_id());
  held.ref.set_attempt(attempt.number());
  held.ref.set_token(placement.token());
  held.device_id = placement.device_ids(0);
  held.memory_bytes = memory_bytes;
  return held;
}

JobEntry* Scheduler::State::FindLost(const v1::AttemptRef& ref) {
  const auto entry = jobs.find(ref.job_id());
  if (entry == jobs.end() || !entry->second.lost || ref.rank() != 0) return nullptr;
  const LiveAttempt& lost = *entry->second.lost;
  if (lost.attempt.number() != ref.attempt() || !process::ConstantTimeEquals(lost.placement().token(), ref.token())) {
    return nullptr;
  }
  return &entry->second;
}

void Scheduler::State::Revive(JobEntry& entry, Moment now, Changes& changes) {
  entry.live = std::exchange(entry.lost, std::nullopt);
  LiveAttempt& live = *entry.live;
  const v1::Placement placement = live.placement();
  live.attempt.clear_end_time();
  live.acknowledged = true;
  live.lease_expiry = now.steady + options.lease;
  live.progressed_at = now.steady;
  live.end.reset();
  --entry.counted_ends;
  queue.Remove(entry.job.id());

  Hold(live.attempt, entry.needs.memory_bytes, now).standing = HeldAttempt::Standing::kLive;
  Touch(workers.at(placement.worker_id()), changes);
  entry.job.mutable_progress()->set_worker_id(placement.worker_id());
  entry.job.mutable_progress()->set_device(placement.device_ids(0));

  const bool ran = live.attempt.has_start_time();
  const Because back{
      ran ? v1::Reason::STARTED : v1::Reason::ASSIGNED,
      absl::StrCat("attempt ", live.attempt.number(), " is back: ", placement.worker_id(), " was only out of reach")};
  Move(
      entry,
      ran ? JobPosition{v1::Job::RUNNING, v1::Attempt::RUNNING} : JobPosition{v1::Job::STARTING, v1::Attempt::STARTING},
      Mover::kWorker, back, back, now, changes);
}

absl::StatusOr<JobEntry*> Scheduler::State::FindOrRevive(const v1::AttemptRef& ref, Moment now, Changes& changes) {
  if (JobEntry* lost = FindLost(ref)) Revive(*lost, now, changes);
  return FindLive(ref);
}

}  // namespace mantissa::server
