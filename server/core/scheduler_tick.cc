// What time alone brings about: leases that run out, waits that end, limits that are reached.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {

namespace {

using std::chrono::milliseconds;

constexpr SteadyTime kNever = SteadyTime::max();

std::string Seconds(milliseconds value) { return absl::StrCat(value.count() / 1000.0, " s"); }

// The moment when a duration that has grown to `so_far` at `as_of`, and goes on, reaches `limit`.
SteadyTime WhenReached(milliseconds limit, milliseconds so_far, SteadyTime as_of) {
  return limit >= kLongestDuration ? kNever : as_of + (limit - so_far);
}

// How long a job has waited is stored now and then where that counts, so that a server that dies forgets little of it:
// a twentieth of the limit, or a second.
SteadyTime WhenToKeepTimes(const JobEntry& entry) {
  const milliseconds limit = std::min(entry.terms.timeouts.queue, entry.terms.timeouts.total);
  if (limit >= kLongestDuration) return kNever;
  return entry.progress_saved_at + std::max(milliseconds(1'000), limit / 20);
}

}  // namespace

milliseconds AttemptLimit(const JobEntry& entry) {
  const milliseconds limit = entry.terms.timeouts.attempt;
  return limit >= kLongestDuration ? kNoLimit : limit;
}

SteadyTime Scheduler::State::NextDeadlineOf(const JobEntry& entry) const {
  if (entry.job.state() == v1::Job::PAUSED) return kNever;
  const JobTimeouts& limits = entry.terms.timeouts;
  SteadyTime next = WhenReached(limits.total, entry.times.total, entry.times_at);
  if (entry.job.state() == v1::Job::QUEUED) {
    next = std::min(next, WhenReached(limits.queue, entry.times.queued, entry.times_at));
    if (!queue.IsReady(entry.job.id())) next = std::min(next, entry.ready_at);
    return std::min(next, WhenToKeepTimes(entry));
  }
  if (!entry.live) return kNever;
  const LiveAttempt& live = *entry.live;
  if (live.end) return std::min(live.lease_expiry, live.end->deadline);
  SteadyTime flush = entry.progress_unsaved ? entry.progress_saved_at + options.progress_interval : kNever;
  // A cancel is under way; nothing but the worker's word or its loss ends it.
  if (entry.job.state() == v1::Job::CANCELLING) return std::min(live.lease_expiry, flush);
  next = std::min({next, flush, live.lease_expiry, WhenReached(limits.attempt, milliseconds(0), live.assigned_at)});
  if (live.attempt.state() == v1::Attempt::STARTING) {
    return std::min(next, WhenReached(limits.start, milliseconds(0), live.assigned_at));
  }
  return std::min(next, WhenReached(limits.stall, milliseconds(0), live.progressed_at));
}

void Scheduler::State::CheckTimes(JobEntry& entry, Moment now, Changes& changes) {
  const JobTimeouts& limits = entry.terms.timeouts;
  const SteadyTime total_end = WhenReached(limits.total, entry.times.total, entry.times_at);
  const Because total{v1::Reason::DEADLINE,
                      absl::StrCat("it took longer than timeouts.total (", Seconds(limits.total), ")")};
  if (entry.job.state() == v1::Job::QUEUED) {
    const SteadyTime queue_end = WhenReached(limits.queue, entry.times.queued, entry.times_at);
    if (now.steady >= total_end || now.steady >= queue_end) {
      const Because waited{v1::Reason::DEADLINE, absl::StrCat("it waited longer than timeouts.queue (",
                                                              Seconds(limits.queue), "); ", entry.job.state_message())};
      Move(entry, {v1::Job::FAILED, v1::Attempt::STATE_UNSPECIFIED}, Mover::kClock,
           now.steady >= total_end ? total : waited, {}, now, changes);
      return;
    }
    if (!queue.IsReady(entry.job.id()) && now.steady >= entry.ready_at) Enqueue(entry, now);
    if (now.steady >= WhenToKeepTimes(entry)) PutJob(entry, /*new_etag=*/false, now, changes);
    return;
  }
  if (!entry.live) return;
  const LiveAttempt& live = *entry.live;
  const std::string worker_id = live.placement().worker_id();
  if (live.end) {
    if (now.steady >= live.end->deadline || now.steady >= live.lease_expiry) RecordReportedEnd(entry, now, changes);
    return;
  }
  auto dismiss = [&](v1::Attempt::State state, v1::Reason::Code reason, const std::string& message) {
    Dismiss(entry, state, {reason, message}, Mover::kClock, now, changes);
  };
  if (now.steady >= live.lease_expiry) {
    ++changes.lease_expiries;
    return dismiss(v1::Attempt::LOST, v1::Reason::NODE_LOST,
                   absl::StrCat(worker_id, " was not heard of for ", Seconds(options.lease)));
  }
  if (entry.job.state() != v1::Job::CANCELLING) {
    if (now.steady >= total_end) return dismiss(v1::Attempt::FAILED, total.reason, total.message);
    if (now.steady >= WhenReached(limits.attempt, milliseconds(0), live.assigned_at)) {
      return dismiss(v1::Attempt::FAILED, v1::Reason::DEADLINE,
                     absl::StrCat("the attempt took longer than timeouts.attempt (", Seconds(limits.attempt), ")"));
    }
    if (live.attempt.state() == v1::Attempt::STARTING) {
      if (now.steady >= WhenReached(limits.start, milliseconds(0), live.assigned_at)) {
        return dismiss(v1::Attempt::FAILED, v1::Reason::START_TIMEOUT,
                       absl::StrCat("no sign of its trainer on ", worker_id, " within timeouts.start (",
                                    Seconds(limits.start), ")"));
      }
    } else if (now.steady >= WhenReached(limits.stall, milliseconds(0), live.progressed_at)) {
      return dismiss(
          v1::Attempt::FAILED, v1::Reason::STALLED,
          absl::StrCat("no new iteration on ", worker_id, " within timeouts.stall (", Seconds(limits.stall), ")"));
    }
  }
  if (entry.progress_unsaved && now.steady >= entry.progress_saved_at + options.progress_interval) {
    PutProgress(entry, now, changes);
  }
}

// Half a lease without a word: it may be dead, and a job given to it would only wait for its lease to run out.
SteadyTime Scheduler::State::NextDeadlineOf(const WorkerEntry& worker) const {
  if (worker.present) return worker.last_seen + options.lease / 2;
  const bool holds_live = std::any_of(worker.held.begin(), worker.held.end(), [](const auto& held) {
    return held.second.standing == HeldAttempt::Standing::kLive;
  });
  return holds_live ? kNever : worker.last_seen + options.disconnect_grace;
}

void Scheduler::Tick(Moment now, Changes& changes) {
  State& s = *state_;
  if (s.reserve_at <= now.steady) {
    s.reserve_at = kNever;
    s.placement_due = true;
  }
  std::vector<std::string> due;
  for (const auto& [deadline, id] : s.deadlines) {
    if (deadline > now.steady) break;
    due.push_back(id);
  }
  for (const std::string& id : due) {
    JobEntry& entry = s.jobs.at(id);
    s.CheckTimes(entry, now, changes);
    s.UpdateDeadline(entry);
  }
  due.clear();
  for (const auto& [deadline, id] : s.worker_deadlines) {
    if (deadline > now.steady) break;
    due.push_back(id);
  }
  for (const std::string& id : due) {
    WorkerEntry& worker = s.workers.at(id);
    if (worker.present) {
      worker.present = false;
      for (const auto& [key, held] : worker.held) changes.silent_jobs.insert(key.first);
      s.workers_changed = s.placement_due = true;
      s.Refresh(worker);
    } else {
      s.ForgetWorker(worker, changes);
    }
  }
  s.Sweep();
}

void Scheduler::State::ForgetWorker(WorkerEntry& worker, Changes& changes) {
  while (!worker.held.empty()) {
    const AttemptKey key = worker.held.begin()->first;
    DropHeld(worker, key, changes);
  }
  for (OwedDeletion& owed : worker.deletions) {
    if (deleted.contains(owed.checkpoint.job_id())) orphans.push_back(std::move(owed.checkpoint));
  }
  workers_changed = placement_due = true;
  const std::string id = worker.worker.id();
  if (worker.deadline != SteadyTime::max()) worker_deadlines.erase({worker.deadline, id});
  groups.Remove(id);
  workers.erase(id);
}

SteadyTime Scheduler::NextDeadline() const {
  const State& s = *state_;
  SteadyTime next = s.reserve_at;
  if (!s.deadlines.empty()) next = std::min(next, s.deadlines.begin()->first);
  if (!s.worker_deadlines.empty()) next = std::min(next, s.worker_deadlines.begin()->first);
  return next;
}

}  // namespace mantissa::server
