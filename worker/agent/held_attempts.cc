#include "worker/agent/held_attempts.h"

#include <algorithm>

#include "proto/spec/study_report.h"

namespace mantissa::agent {
namespace {

using Stage = HeldAttempt::Stage;

// A disk that is full now may be emptied; until then the trainer is to train and not to write.
constexpr std::chrono::seconds kBetweenStops{10};

// Of studies' reports in one call, whose messages the server takes up to 4 MiB. At least one always fits.
constexpr std::size_t kMaxReportsBytes = std::size_t{2} << 20;
static_assert(kMaxReportsBytes >= spec::kMaxReportBytes);

// Nobody cancelled the job, and it is to go on elsewhere.
bool GoesOnElsewhere(StopCause cause) {
  return cause == StopCause::kMoveOn || cause == StopCause::kCutOff || cause == StopCause::kLeave;
}

// What an attempt that the agent stopped has come to, in the server's terms.
void EndAsAsked(HeldAttempt& attempt) {
  if (GoesOnElsewhere(attempt.stop)) {
    attempt.end_state = v1::Attempt::FAILED;
    attempt.end_reason.code = v1::Reason::WORKER_STOPPED;
    std::string& message = attempt.end_reason.message;
    if (attempt.stop == StopCause::kCutOff) {
      message = "its worker could not reach the server" + (message.empty() ? "" : ": " + message);
    } else if (message.empty()) {
      message = "its worker was told to stop";
    }
  } else {
    attempt.end_state = v1::Attempt::CANCELLED;
    attempt.end_reason.code = v1::Reason::CANCELLED_BY_USER;
  }
}

// Only what is right is passed on: the server takes no other, and a message that is too large would stop every report
// of this worker.
void TakeStudyReport(const v1::AttemptEnded& ended, HeldAttempt& attempt) {
  if (!ended.has_report()) return;
  const std::string fault = spec::ReportFault(attempt.assignment.spec().study().kind_case(), ended.report());
  if (fault.empty()) {
    attempt.report = ended.report();
  } else if (attempt.end_state == v1::Attempt::SUCCEEDED) {
    attempt.end_state = v1::Attempt::FAILED;
    attempt.end_reason = {v1::Reason::INTERNAL_ERROR, fault};
  }
}

// `with_end`: where it has ended, say so.
v1::AttemptReport ReportOf(const HeldAttempt& attempt, bool with_end) {
  v1::AttemptReport report;
  *report.mutable_ref() = attempt.ref;
  report.set_iteration(attempt.iteration);
  report.set_step(attempt.step);
  if (attempt.precision) *report.mutable_precision() = *attempt.precision;
  report.set_last_checkpoint(attempt.last_checkpoint);
  report.set_last_attempt_sequence(attempt.last_attempt_sequence);
  report.set_declined_stops(attempt.declined_stops);
  switch (attempt.stage == Stage::kEnded && !with_end ? Stage::kEnding : attempt.stage) {
    case Stage::kStarting:
      report.set_state(v1::Attempt::STARTING);
      break;
    case Stage::kRunning:
    case Stage::kEnding:
      report.set_state(v1::Attempt::RUNNING);
      break;
    case Stage::kEnded:
      report.set_state(attempt.end_state);
      report.set_reason(attempt.end_reason.code);
      report.set_message(attempt.end_reason.message);
      *report.mutable_result() = attempt.result;
      if (attempt.intervention) *report.mutable_intervention() = *attempt.intervention;
      for (const v1::Artifact& artifact : attempt.artifacts) *report.add_artifacts() = artifact;
      if (attempt.report) *report.mutable_report() = *attempt.report;
      break;
  }
  return report;
}

}  // namespace

const HeldAttempt* HeldAttempts::Find(const AttemptKey& key) const {
  const auto found = attempts_.find(key);
  return found == attempts_.end() ? nullptr : &found->second;
}

bool HeldAttempts::AnyLive() const {
  return std::any_of(attempts_.begin(), attempts_.end(), [](const auto& entry) { return !entry.second.over(); });
}

void HeldAttempts::Add(const v1::AttemptRef& ref, const v1::Assignment& assignment) {
  HeldAttempt attempt;
  attempt.ref = ref;
  attempt.assignment = assignment;
  attempts_.emplace(KeyOf(ref), std::move(attempt));
}

bool HeldAttempts::RequestStop(const AttemptKey& key, StopCause cause, process::SteadyTime now) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt == nullptr || attempt->stop >= cause) return false;
  if (cause == StopCause::kMoveOn && now < attempt->move_on_from) return false;
  attempt->stop = cause;
  return true;
}

bool HeldAttempts::Started(const AttemptKey& key) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt == nullptr || attempt->stage != Stage::kStarting) return false;
  attempt->stage = Stage::kRunning;
  return true;
}

bool HeldAttempts::Ended(const AttemptKey& key, const v1::AttemptEnded& ended, process::SteadyTime now) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt == nullptr) return false;
  attempt->ended_at = now;
  attempt->end_state = ended.state();
  attempt->end_reason = {ended.reason(), ended.message()};
  attempt->result = ended.result();
  if (ended.has_intervention()) attempt->intervention = ended.intervention();
  attempt->last_attempt_sequence = std::max(attempt->last_attempt_sequence, ended.last_attempt_sequence());
  attempt->artifacts.assign(ended.artifacts().begin(), ended.artifacts().end());
  attempt->artifact_paths.assign(ended.artifact_paths().begin(), ended.artifact_paths().end());
  attempt->artifact_paths.resize(attempt->artifacts.size());
  attempt->iteration = std::max(attempt->iteration, ended.result().iterations());
  attempt->step = std::max(attempt->step, ended.result().steps());
  switch (ended.state()) {
    case v1::Attempt::SUCCEEDED:
      break;
    case v1::Attempt::FAILED:
      // What could not be saved on the way out is trained again elsewhere; the job has not failed.
      if ((attempt->stop == StopCause::kCutOff || attempt->stop == StopCause::kLeave) &&
          ended.reason() == v1::Reason::CHECKPOINT_FAILED) {
        EndAsAsked(*attempt);
      }
      break;
    case v1::Attempt::CANCELLED:
      if (attempt->stop != StopCause::kNone) {
        EndAsAsked(*attempt);
        break;
      }
      [[fallthrough]];
    default:
      attempt->end_state = v1::Attempt::FAILED;
      attempt->end_reason = {v1::Reason::TRAINER_LOST, "the trainer ended the attempt without being asked to"};
  }
  TakeStudyReport(ended, *attempt);
  return Over(*attempt);
}

bool HeldAttempts::Lost(const AttemptKey& key, const ExitReason& reason, bool as_asked, process::SteadyTime now) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt == nullptr) return false;
  attempt->ended_at = now;
  attempt->end_state = v1::Attempt::FAILED;
  attempt->end_reason = reason;
  if (as_asked && attempt->stop != StopCause::kNone) EndAsAsked(*attempt);
  return Over(*attempt);
}

bool HeldAttempts::CommitAnswered(const AttemptKey& key) {
  const auto found = attempts_.find(key);
  if (found == attempts_.end() || found->second.open_commits == 0) return false;
  HeldAttempt& attempt = found->second;
  --attempt.open_commits;
  return attempt.stage == Stage::kEnding && Over(attempt);
}

bool HeldAttempts::StopDeclined(const AttemptKey& key, process::SteadyTime now) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt == nullptr || attempt->stop != StopCause::kMoveOn) return false;
  attempt->stop = StopCause::kNone;
  attempt->move_on_from = now + kBetweenStops;
  ++attempt->declined_stops;
  return true;
}

void HeldAttempts::Progressed(const AttemptKey& key, std::int32_t iteration, std::int32_t step) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt == nullptr) return;
  attempt->iteration = std::max(attempt->iteration, iteration);
  attempt->step = std::max(attempt->step, step);
}

void HeldAttempts::Heard(const AttemptKey& key, const v1::TrainerHeartbeat& heartbeat) {
  Progressed(key, heartbeat.iteration(), heartbeat.step());
  HeldAttempt* attempt = FindLive(key);
  if (attempt != nullptr && heartbeat.has_precision()) attempt->precision = heartbeat.precision();
}

void HeldAttempts::Received(const AttemptKey& key, std::int64_t attempt_sequence) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt != nullptr) attempt->last_attempt_sequence = std::max(attempt->last_attempt_sequence, attempt_sequence);
}

void HeldAttempts::CheckpointSaved(const AttemptKey& key, const std::string& name) {
  HeldAttempt* attempt = FindLive(key);
  if (attempt == nullptr) return;
  attempt->last_checkpoint = name;
  ++attempt->open_commits;
}

std::vector<v1::AttemptReport> HeldAttempts::Reports() const {
  std::vector<v1::AttemptReport> reports;
  std::size_t bytes = 0;
  for (const auto& [key, attempt] : attempts_) {
    const std::size_t size = attempt.report ? attempt.report->ByteSizeLong() : 0;
    const bool fits = size <= kMaxReportsBytes - bytes;
    if (fits) bytes += size;
    reports.push_back(ReportOf(attempt, fits));
  }
  return reports;
}

HeldAttempt* HeldAttempts::FindLive(const AttemptKey& key) {
  const auto found = attempts_.find(key);
  if (found == attempts_.end()) return nullptr;
  return found->second.over() ? nullptr : &found->second;
}

bool HeldAttempts::Over(HeldAttempt& attempt) {
  attempt.stage = attempt.open_commits > 0 ? Stage::kEnding : Stage::kEnded;
  return attempt.stage == Stage::kEnded;
}

}  // namespace mantissa::agent
