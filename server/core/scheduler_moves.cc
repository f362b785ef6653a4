// The one transition function, and what every move brings with it: the rows, the event, the queue, the deadline.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "server/core/proto_time.h"
#include "server/core/retry_policy.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {

namespace {

v1::JobEvent::Severity SeverityOf(JobPosition to) {
  if (to.job == v1::Job::FAILED) return v1::JobEvent::ERROR;
  // Nobody wanted this end.
  if (to.attempt == v1::Attempt::FAILED || to.attempt == v1::Attempt::LOST) return v1::JobEvent::WARNING;
  return v1::JobEvent::INFO;
}

std::string NextEtag(const std::string& etag) {
  int64_t revision = 0;
  std::from_chars(etag.data(), etag.data() + etag.size(), revision);
  return absl::StrCat(revision + 1);
}

struct Next {
  v1::Job::State state;
  Because because;
  std::chrono::milliseconds wait{0};
};

// What the end of its attempt means for the job. Counts a used retry.
Next AfterEnd(JobEntry& entry, v1::Attempt::State state, const Because& because) {
  const v1::Job& job = entry.job;
  const std::string reason = v1::Reason::Code_Name(because.reason);
  const std::string what =
      absl::StrCat("attempt ", job.attempt(), " ended: ", reason, because.message.empty() ? "" : ": ", because.message);
  if (job.state() == v1::Job::CANCELLING) {
    return {v1::Job::CANCELLED,
            {v1::Reason::CANCELLED_BY_USER,
             state == v1::Attempt::CANCELLED ? "cancelled" : absl::StrCat("cancelled; ", what)}};
  }
  if (state == v1::Attempt::SUCCEEDED) return {v1::Job::SUCCEEDED, {v1::Reason::COMPLETED, because.message}};

  const v1::RetryPolicy policy = ResolvedSpec(entry.specs).retry();
  const bool retried = IsRetried(policy, because.reason);
  if (retried && !IsFree(because.reason)) ++entry.counted_ends;
  // As it would have gone back into the queue, whatever the budget: that is asked when it fails again.
  if (job.state() == v1::Job::PAUSING && retried) {
    return {v1::Job::PAUSED,
            {v1::Reason::PAUSED_BY_USER, state == v1::Attempt::STOPPED
                                             ? absl::StrCat("paused at iteration ", job.progress().iteration())
                                             : absl::StrCat("paused; ", what, "; goes on from its last checkpoint")}};
  }
  const RetryDecision decision =
      DecideRetry(policy, because.reason, entry.counted_ends, BackoffSeed(job.id(), job.attempt()));
  switch (decision.next) {
    case RetryDecision::Next::kRequeue:
      return {v1::Job::QUEUED, {v1::Reason::WAITING_FOR_WORKER, absl::StrCat(what, "; queued again")}};
    case RetryDecision::Next::kBackOff:
      return {v1::Job::QUEUED,
              {v1::Reason::BACKOFF,
               absl::StrCat(what, absl::StrFormat("; tries again in %.1f s", decision.wait.count() / 1000.0))},
              decision.wait};
    case RetryDecision::Next::kExhausted:
      return {v1::Job::FAILED,
              {v1::Reason::RETRIES_EXHAUSTED, absl::StrCat(what, "; no retry is left (retry.max_attempts)")}};
    case RetryDecision::Next::kFinal:
      break;
  }
  return {v1::Job::FAILED, because};
}

}  // namespace

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "mantissa: broken invariant of the scheduler: %s\n", what);
  std::abort();
}

void Scheduler::State::Accrue(JobEntry& entry, Moment now) {
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now.steady - entry.times_at);
  if (passed.count() <= 0) return;
  entry.times_at += passed;
  if (entry.job.state() == v1::Job::PAUSED) return;
  entry.times.total += passed;
  if (entry.job.state() == v1::Job::QUEUED) entry.times.queued += passed;
}

void Scheduler::State::PutJob(JobEntry& entry, bool new_etag, Moment now, Changes& changes) {
  Accrue(entry, now);
  std::string expected = entry.job.etag();
  if (new_etag) entry.job.set_etag(NextEtag(expected));
  entry.progress_unsaved = false;
  entry.progress_saved_at = now.steady;
  changes.PutJob(entry.job, std::move(expected), entry.times);
}

void Scheduler::State::PutProgress(JobEntry& entry, Moment now, Changes& changes) {
  PutJob(entry, /*new_etag=*/false, now, changes);
  if (!entry.live) return;
  const v1::Attempt& attempt = entry.live->attempt;
  changes.attempts.push_back({attempt, AttemptGuard{entry.live->placement().token(), {attempt.state()}}});
}

void Scheduler::State::AppendSegment(JobEntry& entry, v1::Segment segment, Changes& changes) {
  segment.set_first_sequence(entry.last_sequence + 1);
  entry.last_sequence += segment.count();
  changes.telemetry.push_back({entry.job.id(), std::move(segment)});
}

void Scheduler::State::Move(JobEntry& entry, JobPosition to, Mover mover, const Because& job_because,
                            const Because& attempt_because, Moment now, Changes& changes) {
  v1::Job& job = entry.job;
  const JobPosition from{job.state(), entry.live ? entry.live->attempt.state() : v1::Attempt::STATE_UNSPECIFIED};
  // Assign makes the attempt first and then moves: the new one has no state to come from.
  const bool assigns = mover == Mover::kPlacement;
  Require(IsLegalMove(assigns ? JobPosition{from.job, v1::Attempt::STATE_UNSPECIFIED} : from, to, mover),
          "an illegal move of a job");

  // Too late for it to be heard of again (Note [Revival]).
  if (entry.lost && to.job != v1::Job::QUEUED) {
    WriteLostTail(entry, *entry.lost, changes);
    entry.lost.reset();
  }
  Accrue(entry, now);
  if (entry.live && (assigns || to.attempt != from.attempt)) {
    v1::Attempt& attempt = entry.live->attempt;
    attempt.set_state(to.attempt);
    attempt.set_reason(attempt_because.reason);
    attempt.set_message(attempt_because.message);
    if (to.attempt == v1::Attempt::RUNNING && !attempt.has_start_time()) Set(attempt.mutable_start_time(), now.wall);
    if (IsTerminal(to.attempt)) Set(attempt.mutable_end_time(), now.wall);
    std::optional<AttemptGuard> guard;
    if (!assigns) guard = AttemptGuard{entry.live->placement().token(), {from.attempt}};
    changes.attempts.push_back({attempt, std::move(guard)});
  }
  if (to.job != from.job) {
    job.set_state(to.job);
    job.set_reason(job_because.reason);
    job.set_state_message(job_because.message);
    Set(job.mutable_state_time(), now.wall);
    if (to.job == v1::Job::RUNNING && !job.has_start_time()) Set(job.mutable_start_time(), now.wall);
    if (IsTerminal(to.job)) Set(job.mutable_end_time(), now.wall);

    v1::Segment segment;
    segment.set_count(1);
    v1::JobEvent& event = *segment.mutable_event();
    Set(event.mutable_time(), now.wall);
    event.set_severity(SeverityOf(to));
    event.set_reason(v1::Reason::Code_Name(job_because.reason));
    event.set_message(job_because.message);
    v1::StateChange& change = *event.mutable_state_change();
    change.set_from(from.job);
    change.set_to(to.job);
    change.set_reason(job_because.reason);
    change.set_attempt(job.attempt());
    AppendSegment(entry, std::move(segment), changes);
  }
  PutJob(entry, /*new_etag=*/true, now, changes);
  if (IsTerminal(to.job)) ended.push_back(job.id());
  UpdateDeadline(entry);
}

void Scheduler::State::EndAttempt(JobEntry& entry, v1::Attempt::State state, const Because& because, Mover mover,
                                  Moment now, Changes& changes) {
  v1::Job& job = entry.job;
  job.mutable_progress()->clear_worker_id();
  job.mutable_progress()->clear_device();
  const bool told = entry.live->end.has_value();  // how much it has said, too
  entry.live->end.reset();
  placement_due = true;  // a device may be free

  const auto [next_state, job_because, wait] = AfterEnd(entry, state, because);
  // Only silence can turn out to have been none.
  const bool may_return = next_state == v1::Job::QUEUED && state == v1::Attempt::LOST && mover == Mover::kClock;
  if (!told && !may_return) WriteLostTail(entry, *entry.live, changes);
  Move(entry, {next_state, state}, mover, job_because, because, now, changes);
  if (next_state == v1::Job::QUEUED) {
    entry.lost = may_return ? std::move(entry.live) : std::nullopt;
    entry.ready_at = now.steady + wait;
  }
  entry.live.reset();
  if (next_state == v1::Job::QUEUED) Enqueue(entry, now);
}

void Scheduler::State::Dismiss(JobEntry& entry, v1::Attempt::State state, const Because& because, Mover mover,
                               Moment now, Changes& changes) {
  const AttemptKey key = entry.key();
  WorkerEntry& worker = workers.at(entry.live->placement().worker_id());
  EndAttempt(entry, state, because, mover, now, changes);
  HeldAttempt& held = worker.held.at(key);
  held.standing = HeldAttempt::Standing::kDismissed;
  held.dismissed_revision = Touch(worker, changes);
}

// A point of priority is worth so much waiting: a job stands where it would stand if it had been submitted that much
// earlier. So the order never changes with time, whoever waits moves up all the same, and nothing starves.
// Those that may take another's device stand before all that may not: else whoever had to leave, being older, would
// take it back at once.
int64_t Scheduler::State::RankOf(const JobEntry& entry) const {
  constexpr int64_t kBeforeAll = int64_t{1} << 60;
  const int32_t priority = entry.terms.priority;
  const google::protobuf::Timestamp& created = entry.job.create_time();
  const int64_t submitted = created.seconds() * 1'000 + created.nanos() / 1'000'000;
  const bool preempts = options.preempting_priority && priority >= *options.preempting_priority;
  return submitted - priority * options.priority_worth.count() - (preempts ? kBeforeAll : 0);
}

void Scheduler::State::Enqueue(JobEntry& entry, Moment now) {
  RefreshStorage(entry);
  queue.Add(entry.job.id(), RankOf(entry), entry.job.tenant());
  if (entry.ready_at <= now.steady) {
    queue.MakeReady(entry.job.id(), entry.needs);
    newly_ready.push_back(entry.job.id());
    placement_due = true;
  }
  UpdateDeadline(entry);
}

int64_t Scheduler::State::Touch(WorkerEntry& worker, Changes& changes) {
  worker.revision = ++last_revision;
  changes.touched_workers.insert(worker.worker.id());
  Refresh(worker);
  return worker.revision;
}

void Scheduler::State::DropHeld(WorkerEntry& worker, const AttemptKey& key, Changes& changes) {
  auto held = worker.held.find(key);
  for (const v1::Artifact& artifact : held->second.wanted) {
    changes.artifacts.push_back({key.first, key.second, artifact, ArtifactWrite::Kind::kLost});
  }
  worker.held.erase(held);
  holders.erase(key);
  changes.silent_jobs.insert(key.first);
  Refresh(worker);
  placement_due = true;
}

void Scheduler::State::UpdateDeadline(JobEntry& entry) {
  const SteadyTime next = IsTerminal(entry.job.state()) ? SteadyTime::max() : NextDeadlineOf(entry);
  if (next == entry.deadline) return;
  if (entry.deadline != SteadyTime::max()) deadlines.erase({entry.deadline, entry.job.id()});
  entry.deadline = next;
  if (next != SteadyTime::max()) deadlines.insert({next, entry.job.id()});
}

void Scheduler::State::Sweep() {
  for (const std::string& id : ended) {
    auto entry = jobs.find(id);
    if (entry == jobs.end()) continue;
    if (entry->second.deadline != SteadyTime::max()) deadlines.erase({entry->second.deadline, id});
    queue.Remove(id);
    Unpin(entry->second.job);
    jobs.erase(entry);
  }
  ended.clear();
}

}  // namespace mantissa::server
