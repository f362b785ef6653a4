#include "worker/agent/agent.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "worker/agent/cut_off.h"
#include "worker/agent/devices/dcgm_job_mapping.h"
#include "worker/agent/forward/telemetry_segment.h"
#include "worker/agent/run_order.h"

namespace mantissa::agent {
namespace {

using process::Level;
using process::Log;
using process::SteadyTime;
using std::chrono::milliseconds;

constexpr char kCheckpointsRoot[] = "checkpoints";
std::string StorageIdOf(const std::vector<v1::Root>& roots) {
  for (const v1::Root& root : roots) {
    if (root.name() == kCheckpointsRoot) return root.storage_id();
  }
  return "";
}

}  // namespace

Agent::Agent(AgentOptions options, AgentWorld world)
    : options_(std::move(options)),
      world_(world),
      checkpoints_(*world.roots.Find(kCheckpointsRoot)),
      storage_id_(StorageIdOf(options_.roots)),
      now_(world.clock.Now()),
      sync_(options_.sync),
      trainers_(options_.trainers, world.launcher),
      telemetry_(options_.telemetry, world.link, world.inbox),
      logs_(options_.logs, world.link, world.inbox),
      commits_(world.link, world.inbox),
      connection_log_(options_.server, options_.worker_id),
      space_(world.roots, options_.space_interval, world.inbox, world.metrics),
      dcgm_(options_.dcgm_job_mapping_dir, options_.space_interval, world.inbox),
      deletions_(checkpoints_, world.inbox, world.metrics),
      uploads_(checkpoints_, world.link, world.inbox) {}

Agent::~Agent() { world_.link.Shutdown(); }  // an upload that is under way would hold up the end

void Agent::Start() {
  now_ = world_.clock.Now();
  trainers_.Start(now_);
}

absl::Status Agent::Turn(milliseconds longest) {
  Wait(longest);
  now_ = world_.clock.Now();
  if (absl::Status launcher = TakeLauncherEvents(); !launcher.ok()) return launcher;
  for (const pollfd& ready : ready_) {
    if (ready.revents != 0) trainers_.OnReady(ready, now_);
  }
  for (const Inbox::Action& action : world_.inbox.TakeAll()) action();
  Settle();
  return absl::OkStatus();
}

void Agent::RequestDrain() {
  world_.inbox.Post([this] { BeginDrain(); });
}

bool Agent::Finished() const {
  if (!draining_) return false;
  if (now_ >= drain_deadline_) return true;
  const bool told = sync_.answered_number() >= drain_report_ || !sync_.connected();
  return attempts_.empty() && told && telemetry_.Drained() && logs_.Drained() && !uploads_.busy() && !dcgm_.busy();
}

bool Agent::LeftUndone() const { return !attempts_.empty() || !telemetry_.Drained(); }

void Agent::BeginDrain() {
  if (std::exchange(draining_, true)) return;
  Log(Level::kInfo, "draining: no more work is taken, what runs is stopped with a checkpoint",
      {{"attempts", attempts_.all().size()}});
  drain_deadline_ = now_ + options_.drain_grace;
  drain_report_ = sync_.newest_number() + 1;
  for (const auto& [key, attempt] : attempts_.all()) StopAttempt(key, StopCause::kLeave);
  sync_.Changed();
}

void Agent::Wait(milliseconds longest) {
  ready_.clear();
  ready_.push_back({world_.inbox.fd(), POLLIN, 0});
  ready_.push_back({world_.launcher.fd(), POLLIN, 0});
  trainers_.AppendPollFds(ready_);
  const SteadyTime next = NextDeadline();
  milliseconds wait = longest;
  if (next != SteadyTime::max()) {
    const SteadyTime now = world_.clock.Now();
    // Rounded up, or the last millisecond would be spent in a busy loop.
    const auto rest = next <= now ? milliseconds(0) : std::chrono::ceil<milliseconds>(next - now);
    wait = std::min(wait, rest);
  }
  if (::poll(ready_.data(), ready_.size(), static_cast<int>(wait.count())) < 0) {
    for (pollfd& ready : ready_) ready.revents = 0;  // interrupted
  }
}

SteadyTime Agent::NextDeadline() const {
  SteadyTime next = std::min({trainers_.NextDeadline(), telemetry_.NextDeadline(), logs_.NextDeadline(),
                              commits_.NextDeadline(), sync_.NextDeadline(), space_.NextDeadline()});
  if (draining_) next = std::min(next, drain_deadline_);
  if (sync_.last_answer() == SteadyTime::min()) return next;
  for (const auto& [key, attempt] : attempts_.all())
    next = std::min(next, AloneUntil(attempt, sync_, options_.disconnect_grace));
  return next;
}

absl::Status Agent::TakeLauncherEvents() {
  while (true) {
    absl::StatusOr<std::optional<LauncherEvent>> event = world_.launcher.Next();
    if (!event.ok()) {
      return absl::InternalError("the launcher is dead, and every trainer with it; start the worker again");
    }
    if (!event->has_value()) return absl::OkStatus();
    trainers_.OnLauncherEvent(std::move(**event), now_);
  }
}

// Everything that follows from what this turn has brought in, in the order in which one thing leads to another.
void Agent::Settle() {
  trainers_.Tick(now_);
  TakeTrainerEvents();
  commits_.Tick(now_);
  TakeCommitAnswers();
  CheckDisconnectGrace();
  TakeTrainerEvents();  // what a stop brought about
  telemetry_.Tick(now_);
  logs_.Tick(now_);
  space_.Tick(disk_, now_);
  if (dcgm_.wanted()) dcgm_.Show(JobsByGpu(trainers_.devices(), attempts_, options_.gpu_index), disk_, now_);
  Synchronize();
  UpdateMetrics();
}

void Agent::TakeTrainerEvents() {
  for (TrainerEvent& event : trainers_.TakeEvents()) {
    if (auto* reported = std::get_if<AttemptReported>(&event)) {
      OnReported(std::move(*reported));
    } else if (const auto* output = std::get_if<AttemptOutput>(&event)) {
      if (const HeldAttempt* attempt = attempts_.Find(output->key)) {
        logs_.Append(attempt->ref, output->stream, output->bytes);
      }
    } else if (const auto* lost = std::get_if<AttemptLost>(&event)) {
      OnLost(*lost);
    } else {
      sync_.Changed();  // the devices
    }
  }
}

void Agent::OnReported(AttemptReported reported) {
  const AttemptKey& key = reported.key;
  switch (reported.report.body_case()) {
    case v1::TrainerReport::kStarted:
      if (attempts_.Started(key)) sync_.Changed();
      break;
    case v1::TrainerReport::kTelemetry: {
      for (const v1::Segment& segment : reported.report.telemetry().segments()) {
        if (segment.has_event()) Count(segment.event());
        const Progress progress = ProgressOf(segment);
        attempts_.Progressed(key, progress.iteration, progress.step);
      }
      world_.exports.Add(key, reported.report.telemetry());
      const std::int64_t newest = telemetry_.Append(key, std::move(*reported.report.mutable_telemetry()));
      attempts_.Received(key, newest);
      break;
    }
    case v1::TrainerReport::kHeartbeat:
      attempts_.Heard(key, reported.report.heartbeat());
      break;
    case v1::TrainerReport::kCheckpointSaved:
      OnCheckpointSaved(key, reported.report.checkpoint_saved().checkpoint());
      break;
    case v1::TrainerReport::kStopDeclined:
      OnStopDeclined(key, reported.report.stop_declined());
      break;
    case v1::TrainerReport::kEnded:
      telemetry_.Complete(key);
      OnOver(key, attempts_.Ended(key, reported.report.ended(), now_));
      break;
    default:
      break;
  }
}

void Agent::OnStopDeclined(const AttemptKey& key, const v1::StopDeclined& declined) {
  if (!attempts_.StopDeclined(key, now_)) return;
  trainers_.LetGoOn(key);
  LogOf(key, Level::kWarning, "an attempt that was to stop goes on: its checkpoint could not be written",
        {{"error", declined.message()}});
  sync_.Changed();
}

void Agent::OnLost(const AttemptLost& lost) {
  LogOf(lost.key, lost.as_asked ? Level::kInfo : Level::kWarning, "an attempt lost its trainer",
        {{"reason", lost.reason.message}});
  telemetry_.Complete(lost.key);
  OnOver(lost.key, attempts_.Lost(lost.key, lost.reason, lost.as_asked, now_));
}

void Agent::OnOver(const AttemptKey& key, bool tell) {
  if (!tell) return;
  const HeldAttempt& attempt = *attempts_.Find(key);
  Count(attempt);
  world_.exports.End(key, attempt.end_state);
  LogOf(key, Level::kInfo, "attempt ended",
        {{"state", v1::Attempt::State_Name(attempt.end_state)},
         {"reason", v1::Reason::Code_Name(attempt.end_reason.code)},
         {"iteration", attempt.iteration}});
  sync_.Changed();
}

void Agent::OnCheckpointSaved(const AttemptKey& key, v1::Checkpoint checkpoint) {
  const HeldAttempt* attempt = attempts_.Find(key);
  if (attempt == nullptr) return;
  checkpoint.set_job_id(key.job_id);
  checkpoint.set_attempt(key.attempt);
  if (checkpoint.storage_id().empty()) checkpoint.set_storage_id(storage_id_);
  attempts_.CheckpointSaved(key, checkpoint.name());
  commits_.Commit(attempt->ref, checkpoint);
}

void Agent::TakeCommitAnswers() {
  for (CommitAnswered& answer : commits_.TakeAnswers()) {
    if (!answer.committed.error().empty()) {
      LogOf(answer.key, Level::kWarning, "the server refused a checkpoint",
            {{"checkpoint", answer.committed.name()}, {"error", answer.committed.error()}});
    }
    if (answer.given_up) {
      LogOf(answer.key, Level::kWarning,
            "a checkpoint that the server could not be told of was given up for a newer one",
            {{"checkpoint", answer.committed.name()}});
    }
    trainers_.Tell(answer.key, std::move(answer.committed));
    OnOver(answer.key, attempts_.CommitAnswered(answer.key));
  }
}

void Agent::Synchronize() {
  const std::optional<SyncLoop::Call> call = sync_.Next(!deletions_.busy() && !forget_later_, now_);
  if (!call.has_value()) return;
  if (call->fresh_channel) world_.link.Renew();
  world_.link.Synchronize(MakeReport(*call), call->deadline,
                          [this, &inbox = world_.inbox, number = call->number](auto answer) {
                            inbox.Post([this, number, answer = std::move(answer)] { OnSynchronized(number, answer); });
                          });
}

v1::SynchronizeRequest Agent::MakeReport(const SyncLoop::Call& call) const {
  v1::SynchronizeRequest request;
  request.set_worker_id(options_.worker_id);
  request.set_session_id(options_.session_id);
  request.set_report_number(call.number);
  request.set_applied_revision(call.applied_revision);
  request.set_host_name(options_.host_name);
  request.set_version(options_.version);
  for (v1::Device& device : trainers_.devices()) *request.add_devices() = std::move(device);
  request.mutable_labels()->insert(options_.labels.begin(), options_.labels.end());
  for (v1::Root root : options_.roots) {
    if (const auto free_bytes = space_.FreeBytes(root.name())) root.set_free_bytes(*free_bytes);
    *request.add_roots() = std::move(root);
  }
  for (const std::string& feature : trainers_.features()) request.add_features(feature);
  for (v1::AttemptReport& report : attempts_.Reports()) *request.add_attempts() = std::move(report);
  request.set_draining(draining_);
  request.set_sandbox_level(trainers_.sandbox_level());
  *request.mutable_max_hang() = google::protobuf::util::TimeUtil::MillisecondsToDuration(call.hang.count());
  return request;
}

void Agent::OnSynchronized(std::int64_t number, const absl::StatusOr<v1::SynchronizeResponse>& answer) {
  if (!answer.ok()) {
    const bool newest = number == sync_.newest_number();
    sync_.Failed(number, answer.status(), now_);
    if (!newest) return;
    world_.metrics.synchronize_failures.Increment();
    connection_log_.Failed(answer.status(), now_);
    return;
  }
  if (!sync_.Answered(*answer, now_)) return;
  connection_log_.Answered();
  Apply(*answer);
}

void Agent::Apply(const v1::SynchronizeResponse& response) {
  const Orders orders = Decide(response, attempts_, draining_);
  forget_later_ = false;
  for (const AttemptKey& key : orders.abandon) Abandon(key);
  for (const AttemptKey& key : orders.forget) {
    // The server takes the last words of an attempt for as long as it is held here.
    if (logs_.Drained(key) || now_ >= attempts_.Find(key)->ended_at + options_.last_words_grace) {
      Forget(key);
    } else {
      forget_later_ = true;
    }
  }
  for (const AttemptKey& key : orders.cancel) StopAttempt(key, StopCause::kCancel);
  for (const AttemptKey& key : orders.move_on) StopAttempt(key, StopCause::kMoveOn);
  for (const v1::DesiredAttempt& desired : orders.start) StartAttempt(desired);
  for (const v1::CheckpointDeletion& deletion : response.deletions()) {
    // Those in other storages are other workers' to do.
    if (deletion.storage_id() == storage_id_) deletions_.Delete(deletion, TraceOf(KeyOf(deletion.ref())), disk_);
  }
  for (const v1::ArtifactRequest& request : response.artifacts()) Upload(request);
}

void Agent::StartAttempt(const v1::DesiredAttempt& desired) {
  const v1::Assignment& assignment = desired.assignment();
  const AttemptKey key = KeyOf(desired.ref());
  attempts_.Add(desired.ref(), assignment);
  LogOf(key, Level::kInfo, "attempt assigned",
        {{"device", assignment.placement().device_ids().empty() ? "" : assignment.placement().device_ids(0)}});
  telemetry_.Open(desired.ref(), assignment.trace_id());
  world_.exports.Begin(key, assignment);
  absl::StatusOr<RunOrder> order = RunOrderOf(key, assignment, {world_.roots, options_.bound_roots, storage_id_});
  const absl::Status run = order.ok() ? trainers_.Run(*std::move(order), now_) : order.status();
  if (!run.ok()) OnLost({key, {v1::Reason::TRAINER_LOST, std::string(run.message())}, /*as_asked=*/false});
}

std::string Agent::TraceOf(const AttemptKey& key) const {
  const HeldAttempt* attempt = attempts_.Find(key);
  return attempt == nullptr ? "" : attempt->assignment.trace_id();
}

void Agent::LogOf(const AttemptKey& key, Level level, std::string_view message,
                  std::vector<process::LogField> fields) const {
  fields.insert(fields.begin(), {{"job", key.job_id}, {"attempt", key.attempt}, {"trace_id", TraceOf(key)}});
  Log(level, message, std::move(fields));
}

void Agent::StopAttempt(const AttemptKey& key, StopCause cause) {
  if (!attempts_.RequestStop(key, cause, now_)) return;
  StopOrder order;
  order.checkpoint = cause == StopCause::kMoveOn || cause == StopCause::kCutOff || cause == StopCause::kLeave;
  order.or_go_on = cause == StopCause::kMoveOn;
  order.grace = StopGrace(key, cause);
  LogOf(key, Level::kInfo, "attempt is asked to stop", {{"checkpoint", order.checkpoint}});
  trainers_.Stop(key, order, now_);
}

void Agent::Abandon(const AttemptKey& key) {
  LogOf(key, Level::kWarning, "the server no longer has this attempt here; it is ended");
  attempts_.RequestStop(key, StopCause::kAbandoned, now_);
  trainers_.Kill(key, now_);
  world_.exports.End(key, v1::Attempt::LOST);
  Forget(key);
}

void Agent::Forget(const AttemptKey& key) {
  attempts_.Forget(key);
  commits_.Forget(key);
  telemetry_.Close(key, now_);
  logs_.Close(key, now_);
}

void Agent::Upload(const v1::ArtifactRequest& request) {
  const HeldAttempt* attempt = attempts_.Find(KeyOf(request.ref()));
  if (attempt == nullptr) return;
  for (std::size_t i = 0; i < attempt->artifacts.size(); ++i) {
    if (attempt->artifacts[i].name() == request.artifact().name()) {
      return uploads_.Want(request, {attempt->assignment.tenant(), attempt->artifact_paths[i]},
                           attempt->assignment.trace_id(), now_);
    }
  }
}

milliseconds Agent::StopGrace(const AttemptKey& key, StopCause cause) const {
  if (cause == StopCause::kMoveOn) return options_.move_grace;
  if (cause == StopCause::kCancel) return options_.cancel_grace;
  const bool stops = attempts_.Find(key)->assignment.spec().on_disconnect() == v1::JobSpec::STOP;
  return cause == StopCause::kCutOff && stops ? sync_.lease() / 6 : options_.leave_grace;
}

void Agent::CheckDisconnectGrace() {
  if (sync_.last_answer() == SteadyTime::min()) return;
  for (const auto& [key, attempt] : attempts_.all()) {
    if (now_ >= AloneUntil(attempt, sync_, options_.disconnect_grace)) StopAttempt(key, StopCause::kCutOff);
  }
}

}  // namespace mantissa::agent
