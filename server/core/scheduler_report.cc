// What a worker's report says, and what is missing from it.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "process/ids.h"
#include "proto/spec/study_report.h"
#include "server/core/checkpoint_policy.h"
#include "server/core/errors.h"
#include "server/core/proto_time.h"
#include "server/core/retry_policy.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

constexpr size_t kFormerSessions = 8;
constexpr size_t kMaxWorkers = 10'000;
constexpr int kMaxDevices = 64;
constexpr int kMaxAttempts = 1'024;
constexpr int kMaxNames = 1'024;  // labels, roots, features
constexpr int kMaxArtifacts = 64;

bool IsWorkerId(const std::string& id) {
  return !id.empty() && id.size() <= 63 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

absl::Status CheckReport(const v1::SynchronizeRequest& request) {
  auto bad = [](const char* what) { return absl::InvalidArgumentError(what); };
  if (!IsWorkerId(request.worker_id())) return bad("worker_id: must match [a-z0-9-]{1,63}");
  if (request.session_id().empty() || request.session_id().size() > 64) {
    return bad("session_id: must be 1 to 64 bytes, new with every start of the agent");
  }
  if (request.report_number() < 1) return bad("report_number: must be at least 1");
  if (request.devices_size() > kMaxDevices) return bad("devices: at most 64");
  if (request.attempts_size() > kMaxAttempts) return bad("attempts: at most 1024");
  if (request.labels_size() > kMaxNames || request.roots_size() > kMaxNames || request.features_size() > kMaxNames) {
    return bad("labels, roots, features: at most 1024 each");
  }
  std::set<std::string> devices;
  for (const v1::Device& device : request.devices()) {
    if (device.id().empty() || !devices.insert(device.id()).second) return bad("devices.id: must be given, each once");
  }
  return absl::OkStatus();
}

// Whether placement may now decide otherwise, or for other reasons.
bool ChangesPlacement(const v1::Worker& before, const v1::SynchronizeRequest& now) {
  auto differ = [](const auto& a, const auto& b) {
    return !std::equal(a.begin(), a.end(), b.begin(), b.end(),
                       [](const auto& x, const auto& y) { return x.SerializeAsString() == y.SerializeAsString(); });
  };
  auto storages = [](const auto& roots) {
    std::set<std::string> ids;
    for (const v1::Root& root : roots) ids.insert(root.storage_id());
    return ids;
  };
  return before.draining() != now.draining() || differ(before.devices(), now.devices()) ||
         !std::equal(before.features().begin(), before.features().end(), now.features().begin(),
                     now.features().end()) ||
         std::map<std::string, std::string>(before.labels().begin(), before.labels().end()) !=
             std::map<std::string, std::string>(now.labels().begin(), now.labels().end()) ||
         storages(before.roots()) != storages(now.roots());
}

void TakeDescription(const v1::SynchronizeRequest& request, Moment now, v1::Worker& worker) {
  worker.set_id(request.worker_id());
  worker.set_host_name(request.host_name());
  worker.set_version(request.version());
  worker.set_sandbox_level(request.sandbox_level());
  worker.set_draining(request.draining());
  *worker.mutable_devices() = request.devices();
  *worker.mutable_labels() = request.labels();
  *worker.mutable_roots() = request.roots();
  *worker.mutable_features() = request.features();
  Set(worker.mutable_last_seen_time(), now.wall);
}

// Cases that are done.
void TakeCases(const v1::AttemptReport& report, Moment now, JobEntry& entry) {
  entry.job.mutable_progress()->set_iteration(report.iteration());
  Set(entry.job.mutable_progress()->mutable_time(), now.wall);
  entry.progress_unsaved = true;
}

}  // namespace

absl::Status Scheduler::Report(const v1::SynchronizeRequest& request, Moment now, Changes& changes) {
  State& s = *state_;
  absl::Status valid = CheckReport(request);
  if (!valid.ok()) return valid;
  if (s.workers.size() >= kMaxWorkers && s.workers.count(request.worker_id()) == 0) {
    return absl::ResourceExhaustedError(absl::StrCat("more than ", kMaxWorkers, " workers"));
  }
  WorkerEntry& worker = s.workers[request.worker_id()];

  const bool same_session = worker.session_id == request.session_id();
  const bool former = std::find(worker.former_sessions.begin(), worker.former_sessions.end(), request.session_id()) !=
                      worker.former_sessions.end();
  if (former || (same_session && request.report_number() < worker.report_number)) {
    return ErrorWithReason(absl::StatusCode::kAborted, kSuperseded,
                           former ? "session_id: a newer agent speaks for this worker"
                                  : "report_number: a newer call of this session has arrived");
  }
  // After a start of the server every session is unknown, and the first one heard of is the one that goes on.
  const bool new_session = !same_session && !worker.session_id.empty();
  if (new_session) {
    worker.former_sessions.push_back(worker.session_id);
    if (worker.former_sessions.size() > kFormerSessions) worker.former_sessions.pop_front();
  }
  const bool changes_placement = !worker.present || ChangesPlacement(worker.worker, request);
  const bool draining_changed = worker.worker.draining() != request.draining();
  TakeDescription(request, now, worker.worker);
  if (changes_placement) {
    s.workers_changed = s.placement_due = true;
    worker.kind = KindOf(worker.worker);
    worker.storage_ids.clear();
    for (const v1::Root& root : worker.worker.roots()) worker.storage_ids.insert(root.storage_id());
  }
  worker.session_id = request.session_id();
  worker.report_number = request.report_number();
  worker.applied_revision = request.applied_revision();
  worker.last_seen = now.steady;
  worker.present = true;
  std::erase_if(worker.deletions, [&](const OwedDeletion& owed) {
    if (owed.revision > request.applied_revision()) return false;
    s.ForgetCheckpoint(owed.deletion, changes);
    return true;
  });

  s.OweOrphans(worker, changes);

  std::map<AttemptKey, const v1::AttemptReport*> reports;
  std::set<AttemptKey> strangers;
  for (const v1::AttemptReport& report : request.attempts()) {
    JobEntry* const lost = s.FindLost(report.ref());
    if (lost != nullptr && lost->lost->placement().worker_id() == request.worker_id()) s.Revive(*lost, now, changes);
    const AttemptKey key(report.ref().job_id(), report.ref().attempt());
    auto held = worker.held.find(key);
    if (held != worker.held.end() && process::ConstantTimeEquals(held->second.ref.token(), report.ref().token())) {
      reports.emplace(key, &report);
    } else {
      strangers.insert(key);
    }
  }
  std::vector<AttemptKey> keys;
  for (const auto& [key, held] : worker.held) keys.push_back(key);
  for (const AttemptKey& key : keys) {
    auto report = reports.find(key);
    if (report != reports.end()) {
      s.TakeReported(worker, key, *report->second, now, changes);
    } else {
      s.TakeMissing(worker, key, new_session, now, changes);
    }
  }

  // An answer at once tells it to let go of what it should not have; one for the same strangers was given before.
  const bool new_strangers =
      !std::includes(worker.strangers.begin(), worker.strangers.end(), strangers.begin(), strangers.end());
  worker.strangers = std::move(strangers);
  if (new_strangers || draining_changed) s.Touch(worker, changes);
  s.Refresh(worker);
  s.Sweep();
  return absl::OkStatus();
}

void Scheduler::State::TakePrecision(const v1::AttemptReport& report, JobEntry& entry) {
  if (!report.has_precision()) return;
  v1::PrecisionStats& known = *entry.job.mutable_progress()->mutable_precision();
  if (known.SerializeAsString() == report.precision().SerializeAsString()) return;
  known = report.precision();
  entry.progress_unsaved = true;
}

void Scheduler::State::TakeReported(WorkerEntry& worker, const AttemptKey& key, const v1::AttemptReport& report,
                                    Moment now, Changes& changes) {
  if (worker.held.at(key).standing != HeldAttempt::Standing::kLive) return;
  JobEntry& entry = jobs.at(key.first);
  LiveAttempt& live = *entry.live;
  live.acknowledged = true;
  live.lease_expiry = now.steady + options.lease;
  if (live.end) {
    UpdateDeadline(entry);
    return;
  }
  if (report.state() == v1::Attempt::RUNNING || report.state() == v1::Attempt::SUCCEEDED) {
    MarkRunning(entry, now, changes);
  }
  if (report.iteration() > live.attempt.iteration()) {
    live.attempt.set_iteration(report.iteration());
    live.progressed_at = now.steady;
    // A study has no records that say how far it is.
    if (entry.terms.study != v1::StudySpec::KIND_NOT_SET) TakeCases(report, now, entry);
  }
  TakePrecision(report, entry);
  if (report.declined_stops() > live.declined_stops) {
    live.declined_stops = report.declined_stops();
    TakeDeclinedStop(entry, now, changes);
  }
  if (IsTerminal(report.state())) {
    live.end = LiveAttempt::ReportedEnd{report, now.steady + options.end_grace};
    if (live.durable_through >= report.last_attempt_sequence()) RecordReportedEnd(entry, now, changes);
  }
  UpdateDeadline(entry);
}

void Scheduler::State::TakeDeclinedStop(JobEntry& entry, Moment now, Changes& changes) {
  LiveAttempt& live = *entry.live;
  live.stop_wanted = false;
  if (entry.job.state() == v1::Job::PAUSING && live.attempt.state() == v1::Attempt::RUNNING) {
    const Because because{v1::Reason::CHECKPOINT_FAILED,
                          "not paused: its checkpoint could not be written, and what it has learned would be lost; its "
                          "log says why. Make room on its storage and pause it again"};
    Move(entry, {v1::Job::RUNNING, live.attempt.state()}, Mover::kWorker, because, {}, now, changes);
  }
  Touch(workers.at(live.placement().worker_id()), changes);
}

void Scheduler::State::TakeMissing(WorkerEntry& worker, const AttemptKey& key, bool new_session, Moment now,
                                   Changes& changes) {
  HeldAttempt& held = worker.held.at(key);
  if (held.standing != HeldAttempt::Standing::kLive) {
    // A dismissed one may still be in the answer that the worker is reading now, until it says that it has read a
    // later one.
    const bool gone = held.standing == HeldAttempt::Standing::kEnded || new_session ||
                      worker.applied_revision >= held.dismissed_revision;
    if (gone) DropHeld(worker, key, changes);
    return;
  }
  JobEntry& entry = jobs.at(key.first);
  LiveAttempt& live = *entry.live;
  if (live.end) {
    RecordReportedEnd(entry, now, changes);
    DropHeld(worker, key, changes);
    return;
  }
  Because because{v1::Reason::TRAINER_LOST, absl::StrCat(worker.worker.id(), " no longer has it")};
  if (new_session) {
    because = {v1::Reason::NODE_LOST, absl::StrCat("the agent of ", worker.worker.id(), " was restarted")};
  } else if (!live.acknowledged && worker.applied_revision < live.assigned_revision) {
    // It has not read the answer with the assignment yet: that is sent again, until the start timeout.
    live.lease_expiry = now.steady + options.lease;
    UpdateDeadline(entry);
    return;
  } else if (!live.acknowledged && (IsDraining(worker) || live.asked_to_stop)) {
    because = {live.asked_to_stop.value_or(v1::Reason::WORKER_STOPPED),
               absl::StrCat(worker.worker.id(), " did not start it, because it is to stop")};
  }
  EndAttempt(entry, v1::Attempt::LOST, because, Mover::kWorker, now, changes);
  DropHeld(worker, key, changes);
}

// Note [Reports of studies]
//
// A study is run for its report, which is stored in the transaction that records the end of its attempt: whoever sees
// the end can read the report. So a success without one, or with one that is too large or of another study, is none; it
// is the trainer's fault and would come again, so that it ends as INTERNAL_ERROR, which is final unless the spec says
// otherwise. Any other end keeps its own reason, which is the better one, and goes without the report. One that was
// stopped, or failed, may have a report of what it had until then; of a job that is tried again, that is kept until a
// later attempt has one.
std::string Scheduler::State::TakeStudyReport(JobEntry& entry, const v1::AttemptReport& report, Moment now,
                                              Changes& changes) {
  v1::Job& job = entry.job;
  // The worker's word for what stands in the report.
  if (job.has_result()) job.mutable_result()->clear_finding();
  if (!report.has_report()) {
    return entry.terms.study == v1::StudySpec::KIND_NOT_SET ? "" : "the study ended without a report";
  }
  std::string fault = spec::ReportFault(entry.terms.study, report.report());
  if (!fault.empty()) return fault;
  job.mutable_result()->set_finding(Shortened(report.report().finding(), kMaxMessageBytes));
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.wall.time_since_epoch());
  changes.reports.push_back({job.id(), report.ref().attempt(), micros.count(), report.report().SerializeAsString()});
  return "";
}

void Scheduler::State::RecordReportedEnd(JobEntry& entry, Moment now, Changes& changes) {
  const v1::AttemptReport report = entry.live->end->report;
  WorkerEntry& worker = workers.at(entry.live->placement().worker_id());
  HeldAttempt& held = worker.held.at(entry.key());
  if (report.last_attempt_sequence() > entry.live->durable_through) {
    WriteGap(entry, *entry.live, report.last_attempt_sequence(), "not delivered by its worker", changes);
  }
  if (report.has_result()) *entry.job.mutable_result() = report.result();
  const std::string fault = TakeStudyReport(entry, report, now, changes);
  TakePrecision(report, entry);
  v1::JobProgress& progress = *entry.job.mutable_progress();
  progress.set_iteration(std::max(progress.iteration(), report.iteration()));
  progress.set_step(std::max(progress.step(), report.step()));

  held.standing = HeldAttempt::Standing::kEnded;
  std::set<std::string> names;
  for (const v1::Artifact& artifact : report.artifacts()) {
    if (static_cast<int>(names.size()) == kMaxArtifacts) break;
    if (!IsSaneRelativePath(artifact.name(), 255) || !IsSha256Hex(artifact.sha256()) || artifact.size_bytes() < 0 ||
        !names.insert(artifact.name()).second) {
      continue;
    }
    held.wanted.push_back(artifact);
    changes.artifacts.push_back({entry.job.id(), report.ref().attempt(), artifact, ArtifactWrite::Kind::kWanted});
  }

  // A cancel that is under way wins.
  if (report.state() == v1::Attempt::FAILED && report.has_intervention() && entry.job.state() != v1::Job::CANCELLING &&
      Intervene(entry, report, now, changes)) {
    Touch(worker, changes);
    return;
  }
  v1::Attempt::State state = report.state();
  Because because{report.reason(), Shortened(report.message(), kMaxMessageBytes)};
  // See Note [Reports of studies].
  if (state == v1::Attempt::SUCCEEDED && !fault.empty()) {
    state = v1::Attempt::FAILED;
    because = {v1::Reason::INTERNAL_ERROR, fault};
  }
  if (state == v1::Attempt::SUCCEEDED) {
    because.reason = v1::Reason::COMPLETED;
  } else if (state == v1::Attempt::CANCELLED && entry.job.state() == v1::Job::CANCELLING) {
    because.reason = v1::Reason::CANCELLED_BY_USER;
  } else {
    // Nobody asked for a cancel, and LOST is the server's word.
    if (entry.job.state() != v1::Job::CANCELLING || state == v1::Attempt::LOST) state = v1::Attempt::FAILED;
    const bool unknown = because.reason == v1::Reason::REASON_UNSPECIFIED || because.reason == v1::Reason::COMPLETED ||
                         because.reason == v1::Reason::CANCELLED_BY_USER;
    if (unknown) because.reason = v1::Reason::TRAINER_LOST;
    // Only a worker that was asked to stop gives an attempt back for free; another could do so for ever.
    const std::optional<v1::Reason::Code> asked = entry.live->asked_to_stop;
    if (because.reason == v1::Reason::WORKER_STOPPED && (asked || IsDraining(worker))) {
      state = v1::Attempt::STOPPED;
      if (asked) because.reason = *asked;
    } else if (IsFree(because.reason)) {
      because.reason = v1::Reason::KILLED;
    }
  }
  EndAttempt(entry, state, because, Mover::kWorker, now, changes);
  Touch(worker, changes);
}

}  // namespace mantissa::server
