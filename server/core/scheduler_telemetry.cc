// The fence of everything that is said for an attempt, and the numbering of its telemetry.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "process/ids.h"
#include "server/core/errors.h"
#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"
#include "server/core/telemetry_segment.h"

namespace mantissa::server {

absl::Status LeaseLost(const v1::AttemptRef& ref) {
  return ErrorWithReason(
      absl::StatusCode::kAborted, kLeaseLost,
      absl::StrCat("attempt ", ref.attempt(), " of job ", ref.job_id(), " does not hold a lease; stop it"));
}

// Note [Lease fencing]
//
// The attempt number only grows and is the fence; the token keeps a worker from speaking for an attempt it was never
// given. A word for an attempt counts only if the attempt is the job's live one and the token is its own. The store
// checks the same once more in the statement that writes (AttemptGuard), so that not even a second server, or a bug
// here, lets a stale attempt change anything.
absl::StatusOr<JobEntry*> Scheduler::State::FindLive(const v1::AttemptRef& ref) {
  auto entry = jobs.find(ref.job_id());
  if (entry == jobs.end() || !entry->second.live || ref.rank() != 0) return LeaseLost(ref);
  const LiveAttempt& live = *entry->second.live;
  if (live.attempt.number() != ref.attempt() || !process::ConstantTimeEquals(live.placement().token(), ref.token())) {
    return LeaseLost(ref);
  }
  return &entry->second;
}

const HeldAttempt* Scheduler::State::FindHeld(const v1::AttemptRef& ref) const {
  const AttemptKey key(ref.job_id(), ref.attempt());
  auto holder = holders.find(key);
  if (holder == holders.end() || ref.rank() != 0) return nullptr;
  const HeldAttempt& held = workers.at(holder->second).held.at(key);
  if (held.standing == HeldAttempt::Standing::kDismissed ||
      !process::ConstantTimeEquals(held.ref.token(), ref.token())) {
    return nullptr;
  }
  return &held;
}

absl::Status Scheduler::CheckFence(const v1::AttemptRef& ref) const {
  const bool may_speak = state_->FindHeld(ref) != nullptr || state_->FindLost(ref) != nullptr;
  return may_speak ? absl::OkStatus() : LeaseLost(ref);
}

bool Scheduler::MaySpeak(const std::string& job_id, int32_t attempt) const {
  const AttemptKey key(job_id, attempt);
  const auto holder = state_->holders.find(key);
  if (holder == state_->holders.end()) return false;
  const WorkerEntry& worker = state_->workers.at(holder->second);
  return worker.present && worker.held.at(key).standing != HeldAttempt::Standing::kDismissed;
}

void Scheduler::State::MarkRunning(JobEntry& entry, Moment now, Changes& changes) {
  if (entry.live->attempt.state() != v1::Attempt::STARTING) return;
  entry.live->progressed_at = now.steady;
  const v1::Placement& placement = entry.live->placement();
  const Because started{v1::Reason::STARTED,
                        absl::StrCat("attempt ", entry.live->attempt.number(), " runs on ", placement.worker_id())};
  // One that is on its way out stays on it.
  const v1::Job::State next = entry.job.state() == v1::Job::STARTING ? v1::Job::RUNNING : entry.job.state();
  Move(entry, {next, v1::Attempt::RUNNING}, Mover::kWorker, started, started, now, changes);
}

void Scheduler::State::WriteGap(JobEntry& entry, LiveAttempt& attempt, int64_t to, const std::string& reason,
                                Changes& changes) {
  v1::Segment segment;
  segment.set_attempt(attempt.attempt.number());
  segment.set_first_attempt_sequence(attempt.durable_through + 1);
  segment.set_count(1);
  segment.mutable_gap()->set_from(attempt.durable_through + 1);
  segment.mutable_gap()->set_to(to);
  segment.mutable_gap()->set_reason(reason);
  attempt.durable_through = LastAttemptSequence(segment);
  AppendSegment(entry, std::move(segment), changes);
}

void Scheduler::State::WriteLostTail(JobEntry& entry, LiveAttempt& attempt, Changes& changes) {
  if (!attempt.attempt.has_start_time()) return;  // it never ran and has said nothing
  WriteGap(entry, attempt, /*to=*/0, "it ended without a word of how many there were", changes);
}

absl::StatusOr<int64_t> Scheduler::AppendTelemetry(const v1::AttemptRef& ref, std::vector<v1::Segment> segments,
                                                   Moment now, Changes& changes) {
  State& s = *state_;
  auto found = s.FindOrRevive(ref, now, changes);
  if (!found.ok()) return found.status();
  JobEntry& entry = **found;
  LiveAttempt& live = *entry.live;

  // All are looked at before any counts: a batch is taken whole or not at all.
  int64_t through = live.durable_through;
  for (const v1::Segment& segment : segments) {
    absl::Status valid = CheckSegment(segment);
    if (!valid.ok()) return valid;
    if (segment.first_attempt_sequence() > through + 1) {
      return ErrorWithReason(absl::StatusCode::kOutOfRange, kTelemetryHole,
                             absl::StrCat("attempt_sequence ", through + 1, " is next, and the segment begins at ",
                                          segment.first_attempt_sequence()));
    }
    through = std::max(through, LastAttemptSequence(segment));
  }
  if (through == live.durable_through) return through;

  s.MarkRunning(entry, now, changes);
  v1::JobProgress& progress = *entry.job.mutable_progress();
  for (v1::Segment& segment : segments) {
    const int64_t last = LastAttemptSequence(segment);
    if (last <= live.durable_through) continue;
    if (segment.first_attempt_sequence() <= live.durable_through) segment = After(segment, live.durable_through);
    segment.set_attempt(ref.attempt());
    live.durable_through = last;

    if (segment.has_records()) {
      const int32_t iteration = TakeProgress(segment, progress);
      Set(progress.mutable_time(), now.wall);
      if (iteration > live.attempt.iteration()) {
        live.attempt.set_iteration(iteration);
        live.progressed_at = now.steady;
      }
    } else if (segment.has_event()) {
      v1::JobEvent& event = *segment.mutable_event();
      if (event.severity() == v1::JobEvent::SEVERITY_UNSPECIFIED) event.set_severity(v1::JobEvent::INFO);
      if (event.has_started()) {
        progress.set_total_iterations(event.started().total_iterations());
        progress.set_device(event.started().device());
        progress.set_emulated(event.started().emulated());
      }
      // A long evaluation or a large checkpoint is work, too.
      live.progressed_at = now.steady;
    }
    s.AppendSegment(entry, std::move(segment), changes);
  }

  entry.progress_unsaved = true;
  if (now.steady >= entry.progress_saved_at + s.options.progress_interval) s.PutProgress(entry, now, changes);
  if (live.end && live.durable_through >= live.end->report.last_attempt_sequence()) {
    s.RecordReportedEnd(entry, now, changes);
  }
  s.UpdateDeadline(entry);
  s.Sweep();
  return through;
}

}  // namespace mantissa::server
