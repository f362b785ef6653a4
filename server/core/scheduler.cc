#include "server/core/scheduler.h"

#include <algorithm>

#include "server/core/retry_policy.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {

Scheduler::Scheduler(SchedulerOptions options, IdSource ids) : state_(std::make_unique<State>()) {
  state_->options = options;
  state_->ids = std::move(ids);
  state_->last_revision = options.epoch << 32;
}

Scheduler::~Scheduler() = default;

int64_t Scheduler::LastRevision() const { return state_->last_revision; }

void Scheduler::Load(std::vector<LiveJob> jobs, Moment now, int64_t revision_floor) {
  State& s = *state_;
  s.last_revision = std::max(s.last_revision, revision_floor);
  for (LiveJob& loaded : jobs) s.LoadJob(std::move(loaded), now);
  s.workers_changed = s.placement_due = true;
}

void Scheduler::State::LoadJob(LiveJob loaded, Moment now) {
  const int64_t memory_bytes = loaded.job.resolved_spec().resources().memory_bytes();
  auto hold = [&](const v1::Attempt& attempt) -> HeldAttempt& {
    const v1::Placement& placement = attempt.placements(0);
    WorkerEntry& worker = workers[placement.worker_id()];
    worker.worker.set_id(placement.worker_id());
    worker.last_seen = now.steady;
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
  };

  for (const v1::Attempt& attempt : loaded.attempts) {
    Require(attempt.placements_size() == 1 && attempt.placements(0).device_ids_size() == 1,
            "an attempt without exactly one placement on one device");
    for (const ArtifactWrite& wanted : loaded.wanted_artifacts) {
      if (wanted.attempt != attempt.number()) continue;
      HeldAttempt& held = hold(attempt);
      held.standing = HeldAttempt::Standing::kEnded;
      held.wanted.push_back(wanted.artifact);
    }
  }
  if (IsTerminal(loaded.job.state())) return;

  JobEntry& entry = jobs[loaded.job.id()];
  entry.job = std::move(loaded.job);
  entry.needs = NeedsOf(entry.job.resolved_spec());
  Pin(entry.job);
  entry.checkpoints = std::move(loaded.checkpoints);
  entry.last_sequence = loaded.last_sequence;
  entry.times = loaded.times;
  entry.times_at = entry.ready_at = entry.progress_saved_at = now.steady;
  for (v1::Attempt& attempt : loaded.attempts) {
    if (IsTerminal(attempt.state())) {
      if (IsRetried(attempt.reason()) && !IsFree(attempt.reason())) ++entry.counted_ends;
      continue;
    }
    Require(!entry.live, "two live attempts of one job");
    HeldAttempt& held = hold(attempt);
    LiveAttempt& live = entry.live.emplace();
    live.assigned_at = live.progressed_at = now.steady;
    live.lease_expiry = now.steady + options.lease;
    live.assigned_revision = last_revision;
    // One that ran was known to its worker: missing from the next report, it is gone.
    live.acknowledged = attempt.state() == v1::Attempt::RUNNING;
    for (const auto& [number, sequence] : loaded.durable_attempt_sequences) {
      if (number == attempt.number()) live.durable_through = sequence;
    }
    held.standing = HeldAttempt::Standing::kLive;
    live.attempt = std::move(attempt);
  }
  const bool waits = entry.job.state() == v1::Job::QUEUED;
  Require(waits != entry.live.has_value(), "a job whose state and attempts contradict each other");
  if (!waits) return UpdateDeadline(entry);

  // How much of a back-off had passed is not stored; it begins again.
  if (entry.job.reason() == v1::Reason::BACKOFF && !loaded.attempts.empty()) {
    const v1::Attempt& last = loaded.attempts.back();
    entry.ready_at += DecideRetry(entry.job.resolved_spec().retry(), last.reason(), entry.counted_ends,
                                  BackoffSeed(entry.job.id(), last.number()))
                          .wait;
  }
  Enqueue(entry, now);
}

}  // namespace mantissa::server
