#include "server/core/scheduler.h"

#include <algorithm>

#include "server/core/retry_policy.h"
#include "server/core/scheduler_state.h"
#include "server/core/telemetry_segment.h"

namespace mantissa::server {

Scheduler::Scheduler(SchedulerOptions options, IdSource ids) : state_(std::make_unique<State>()) {
  state_->options = options;
  state_->ids = std::move(ids);
  state_->last_revision = options.epoch << 32;
}

Scheduler::~Scheduler() = default;

int64_t Scheduler::LastRevision() const { return state_->last_revision; }

void Scheduler::Load(StoredState stored, Moment now, int64_t revision_floor) {
  State& s = *state_;
  s.drained = {stored.drained_workers.begin(), stored.drained_workers.end()};
  for (const v1::Checkpoint& orphan : stored.orphans) s.deleted.insert(orphan.job_id());
  s.orphans = std::move(stored.orphans);
  s.last_revision = std::max(s.last_revision, revision_floor);
  for (LiveJob& loaded : stored.jobs) s.LoadJob(std::move(loaded), now);
  for (auto& [id, worker] : s.workers) s.Refresh(worker);
  s.workers_changed = s.placement_due = true;
}

void Scheduler::State::LoadJob(LiveJob loaded, Moment now) {
  const v1::JobSpec& resolved = loaded.job.resolved_spec();
  const int64_t memory_bytes = resolved.resources().memory_bytes();
  for (const v1::Attempt& attempt : loaded.attempts) {
    Require(attempt.placements_size() == 1 && attempt.placements(0).device_ids_size() == 1,
            "an attempt without exactly one placement on one device");
    for (const ArtifactWrite& wanted : loaded.wanted_artifacts) {
      if (wanted.attempt != attempt.number()) continue;
      HeldAttempt& held = Hold(attempt, memory_bytes, now);
      held.standing = HeldAttempt::Standing::kEnded;
      held.wanted.push_back(wanted.artifact);
    }
  }
  if (IsTerminal(loaded.job.state())) return;

  JobEntry& entry = jobs[loaded.job.id()];
  entry.specs = EncodeSpecs(loaded.job.spec(), resolved);
  entry.terms = TermsOf(resolved);
  entry.needs = NeedsOf(resolved);
  const v1::RetryPolicy policy = resolved.retry();
  loaded.job.clear_spec();
  loaded.job.clear_resolved_spec();
  entry.job = std::move(loaded.job);
  Pin(entry.job);
  entry.checkpoints = std::move(loaded.checkpoints);
  entry.last_sequence = loaded.last_sequence;
  entry.times = loaded.times;
  entry.times_at = entry.ready_at = entry.progress_saved_at = now.steady;
  for (const v1::Attempt& attempt : loaded.attempts) {
    const bool over = IsTerminal(attempt.state());
    const bool retried = over && IsRetried(policy, attempt.reason());
    if (retried && !IsFree(attempt.reason())) ++entry.counted_ends;
    const bool lost = attempt.state() == v1::Attempt::LOST && attempt.number() == entry.job.attempt() &&
                      entry.job.state() == v1::Job::QUEUED;
    if (over && !lost) continue;
    LiveAttempt live;
    live.attempt = attempt;
    live.assigned_at = live.progressed_at = now.steady;
    live.lease_expiry = now.steady + options.lease;
    // One that ran was known to its worker: missing from the next report, it is gone.
    live.acknowledged = attempt.has_start_time();
    for (const auto& [number, sequence] : loaded.durable_attempt_sequences) {
      if (number == attempt.number()) live.durable_through = sequence;
    }
    if (lost) {
      // One whose tail was written off was more than silent.
      if (live.durable_through < kMaxAttemptSequence) entry.lost = std::move(live);
      continue;
    }
    Require(!entry.live, "two live attempts of one job");
    Hold(attempt, memory_bytes, now).standing = HeldAttempt::Standing::kLive;
    live.assigned_revision = last_revision;
    // Whether it had been asked to is not stored; once a start, its worker is believed.
    live.asked_to_stop =
        entry.job.state() == v1::Job::PAUSING ? v1::Reason::PAUSED_BY_USER : v1::Reason::WORKER_STOPPED;
    entry.live = std::move(live);
  }
  const bool idle = entry.job.state() == v1::Job::QUEUED || entry.job.state() == v1::Job::PAUSED;
  Require(idle != entry.live.has_value(), "a job whose state and attempts contradict each other");
  if (entry.job.state() != v1::Job::QUEUED) return UpdateDeadline(entry);

  // How much of a back-off had passed is not stored; it begins again.
  if (entry.job.reason() == v1::Reason::BACKOFF && !loaded.attempts.empty()) {
    const v1::Attempt& last = loaded.attempts.back();
    entry.ready_at +=
        DecideRetry(policy, last.reason(), entry.counted_ends, BackoffSeed(entry.job.id(), last.number())).wait;
  }
  Enqueue(entry, now);
}

}  // namespace mantissa::server
