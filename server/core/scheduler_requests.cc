// What is asked of a job that is there: cancel, pause, resume, requeue, update.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"
#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

constexpr v1::Attempt::State kNoAttempt = v1::Attempt::STATE_UNSPECIFIED;

absl::Status WrongState(const JobEntry& entry, absl::string_view remedy) {
  return ErrorWithReason(absl::StatusCode::kFailedPrecondition, kWrongState,
                         absl::StrCat("the job is ", v1::Job::State_Name(entry.job.state()), "; ", remedy));
}

}  // namespace

absl::StatusOr<JobEntry*> Scheduler::State::FindForRequest(const std::string& job_id, const std::string& etag) {
  const auto found = jobs.find(job_id);
  if (found == jobs.end()) return absl::NotFoundError(absl::StrCat("job ", job_id, " is not live"));
  if (!etag.empty() && etag != found->second.job.etag()) {
    return ErrorWithReason(absl::StatusCode::kAborted, kEtagMismatch,
                           "etag: the job has changed since it was read; read it again");
  }
  return &found->second;
}

void Scheduler::State::AskToStop(JobEntry& entry, v1::Reason::Code why, Changes& changes) {
  entry.live->asked_to_stop = why;
  Touch(workers.at(entry.live->placement().worker_id()), changes);
}

absl::StatusOr<v1::Job> Scheduler::Cancel(const std::string& job_id, const std::string& etag, Moment now,
                                          Changes& changes) {
  State& s = *state_;
  const absl::StatusOr<JobEntry*> found = s.FindForRequest(job_id, etag);
  if (!found.ok()) return found.status();
  JobEntry& entry = **found;
  if (IsCancellable(entry.job.state())) s.Cancel(entry, now, changes);
  v1::Job job = entry.job;
  s.Sweep();
  return job;
}

std::vector<std::string> Scheduler::CancelThose(const std::vector<std::string>& job_ids,
                                                const std::set<v1::Job::State>& states, bool validate_only, Moment now,
                                                Changes& changes) {
  State& s = *state_;
  std::vector<std::string> cancelled;
  std::set<std::string> seen;
  for (const std::string& id : job_ids) {
    auto found = s.jobs.find(id);
    if (found == s.jobs.end() || !seen.insert(id).second) continue;
    const v1::Job::State state = found->second.job.state();
    if (states.count(state) == 0 || !IsCancellable(state)) continue;
    if (!validate_only) s.Cancel(found->second, now, changes);
    cancelled.push_back(id);
  }
  s.Sweep();
  return cancelled;
}

void Scheduler::State::Cancel(JobEntry& entry, Moment now, Changes& changes) {
  if (!entry.live) {
    Move(entry, {v1::Job::CANCELLED, kNoAttempt}, Mover::kUser, {v1::Reason::CANCELLED_BY_USER, "cancelled"}, {}, now,
         changes);
    return;
  }
  const v1::Placement& placement = entry.live->placement();
  Move(entry, {v1::Job::CANCELLING, entry.live->attempt.state()}, Mover::kUser,
       {v1::Reason::CANCELLED_BY_USER,
        absl::StrCat("waits for ", placement.worker_id(), " to stop attempt ", entry.live->attempt.number())},
       {}, now, changes);
  Touch(workers.at(placement.worker_id()), changes);
}

absl::StatusOr<v1::Job> Scheduler::Pause(const std::string& job_id, const std::string& etag, Moment now,
                                         Changes& changes) {
  State& s = *state_;
  const absl::StatusOr<JobEntry*> found = s.FindForRequest(job_id, etag);
  if (!found.ok()) return found.status();
  JobEntry& entry = **found;
  switch (entry.job.state()) {
    case v1::Job::QUEUED:
      s.queue.Remove(job_id);
      s.Move(entry, {v1::Job::PAUSED, kNoAttempt}, Mover::kUser, {v1::Reason::PAUSED_BY_USER, "paused while it waited"},
             {}, now, changes);
      break;
    case v1::Job::STARTING:
    case v1::Job::RUNNING:
      s.Move(entry, {v1::Job::PAUSING, entry.live->attempt.state()}, Mover::kUser,
             {v1::Reason::PAUSED_BY_USER, absl::StrCat("waits for ", entry.live->placement().worker_id(),
                                                       " to save and stop attempt ", entry.live->attempt.number())},
             {}, now, changes);
      s.AskToStop(entry, v1::Reason::PAUSED_BY_USER, changes);
      break;
    case v1::Job::PAUSING:
    case v1::Job::PAUSED:
      break;
    default:
      return WrongState(entry, "there is nothing left to pause");
  }
  return WithSpecs(entry.job, entry.specs);
}

absl::StatusOr<v1::Job> Scheduler::Resume(const std::string& job_id, const std::string& etag, Moment now,
                                          Changes& changes) {
  State& s = *state_;
  const absl::StatusOr<JobEntry*> found = s.FindForRequest(job_id, etag);
  if (!found.ok()) return found.status();
  JobEntry& entry = **found;
  switch (entry.job.state()) {
    case v1::Job::PAUSED:
      s.Move(entry, {v1::Job::QUEUED, kNoAttempt}, Mover::kUser, {v1::Reason::WAITING_FOR_WORKER, "resumed"}, {}, now,
             changes);
      s.Enqueue(entry, now);
      break;
    case v1::Job::PAUSING: {
      // Its worker may be about to stop it already; then it comes back through the queue.
      const v1::Attempt::State attempt = entry.live->attempt.state();
      s.Move(entry, {attempt == v1::Attempt::STARTING ? v1::Job::STARTING : v1::Job::RUNNING, attempt}, Mover::kUser,
             {v1::Reason::STARTED, "resumed before it was paused"}, {}, now, changes);
      s.Touch(s.workers.at(entry.live->placement().worker_id()), changes);
      break;
    }
    case v1::Job::QUEUED:
    case v1::Job::STARTING:
    case v1::Job::RUNNING:
      break;
    default:
      return WrongState(entry, "it cannot be resumed; clone it to train it again");
  }
  return WithSpecs(entry.job, entry.specs);
}

absl::StatusOr<v1::Job> Scheduler::Requeue(const std::string& job_id, const std::string& etag, Moment now,
                                           Changes& changes) {
  State& s = *state_;
  const absl::StatusOr<JobEntry*> found = s.FindForRequest(job_id, etag);
  if (!found.ok()) return found.status();
  JobEntry& entry = **found;
  switch (entry.job.state()) {
    case v1::Job::QUEUED:
      if (entry.ready_at <= now.steady) break;
      entry.ready_at = now.steady;
      s.Enqueue(entry, now);
      break;
    case v1::Job::STARTING:
    case v1::Job::RUNNING:
      entry.live->stop_wanted = true;
      s.AskToStop(entry, v1::Reason::REQUEUED, changes);
      break;
    default:
      return WrongState(entry, "only a job that runs or waits is put back into the queue; `resume` a paused one");
  }
  return WithSpecs(entry.job, entry.specs);
}

absl::StatusOr<v1::Job> Scheduler::Update(const std::string& job_id, const std::string& etag, int32_t revision,
                                          const v1::JobSpec& spec, const v1::JobSpec& resolved, Moment now,
                                          Changes& changes) {
  State& s = *state_;
  const absl::StatusOr<JobEntry*> found = s.FindForRequest(job_id, etag);
  if (!found.ok()) return found.status();
  JobEntry& entry = **found;
  if (revision != entry.job.spec_revision()) {
    return ErrorWithReason(absl::StatusCode::kAborted, kEtagMismatch,
                           "the job was updated by another call at the same time; try again");
  }
  const bool waits = entry.job.state() == v1::Job::QUEUED;
  s.Accrue(entry, now);
  if (waits) s.queue.Remove(job_id);
  entry.specs = EncodeSpecs(spec, resolved);
  entry.terms = TermsOf(resolved);
  *entry.job.mutable_labels() = resolved.labels();
  entry.job.set_spec_revision(entry.job.spec_revision() + 1);
  entry.needs = NeedsOf(resolved);

  v1::Segment segment;
  segment.set_count(1);
  v1::JobEvent& event = *segment.mutable_event();
  Set(event.mutable_time(), now.wall);
  event.set_severity(v1::JobEvent::INFO);
  event.set_reason("UPDATED");
  event.set_message(absl::StrCat("its spec was updated; this is revision ", entry.job.spec_revision()));
  s.AppendSegment(entry, std::move(segment), changes);

  s.PutJob(entry, /*new_etag=*/true, now, changes);
  changes.PutSpecs(job_id, entry.specs);
  s.RefreshStorage(entry);
  if (waits) s.Enqueue(entry, now);
  s.UpdateDeadline(entry);
  return WithSpecs(entry.job, entry.specs);
}

}  // namespace mantissa::server
