#include "worker/agent/trainers/trainer_session.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/log.h"

namespace mantissa::agent {

using process::Level;
using process::Log;
using process::SteadyTime;

absl::Status TrainerSession::Greet(SteadyTime deadline) {
  deadline_ = deadline;
  v1::TrainerCommand command;
  command.mutable_hello()->set_protocol_min(kTrainerProtocol);
  command.mutable_hello()->set_protocol_max(kTrainerProtocol);
  return Send(command);
}

absl::Status TrainerSession::Bind(const std::string& tenant, const v1::Device& device,
                                  const std::vector<v1::BoundRoot>& roots, process::SandboxLevel required,
                                  SteadyTime deadline) {
  stage_ = Stage::kBinding;
  deadline_ = deadline;
  tenant_ = tenant;
  required_sandbox_ = required;
  v1::TrainerCommand command;
  v1::Bind* bind = command.mutable_bind();
  bind->set_tenant(tenant);
  for (const v1::BoundRoot& root : roots) *bind->add_roots() = root;
  *bind->mutable_device() = device;
  bind->set_required_sandbox_level(std::string(process::SandboxLevelName(required)));
  return Send(command);
}

absl::Status TrainerSession::Run(RunOrder order, SteadyTime deadline) {
  stage_ = Stage::kRunning;
  deadline_ = deadline;
  ++attempts_;
  run_ = CurrentRun{.order = std::move(order), .stopping = false, .verdict = std::nullopt};
  v1::TrainerCommand command;
  *command.mutable_run() = run_->order.command;
  return Send(command);
}

absl::Status TrainerSession::Stop(const StopOrder& order) {
  if (!run_.has_value()) return absl::OkStatus();
  run_->stopping = true;
  deadline_ = SteadyTime::max();
  v1::TrainerCommand command;
  command.mutable_stop()->set_job_id(run_->order.key.job_id);
  command.mutable_stop()->set_attempt(run_->order.key.attempt);
  command.mutable_stop()->set_checkpoint(order.checkpoint);
  command.mutable_stop()->set_or_go_on(order.or_go_on);
  return Send(command);
}

void TrainerSession::LetGoOn() {
  if (run_.has_value()) run_->stopping = false;
}

absl::Status TrainerSession::Tell(v1::CheckpointCommitted committed) {
  v1::TrainerCommand command;
  *command.mutable_checkpoint_committed() = std::move(committed);
  return Send(command);
}

absl::Status TrainerSession::Shutdown() {
  v1::TrainerCommand command;
  command.mutable_shutdown();
  return Send(command);
}

absl::Status TrainerSession::Send(const v1::TrainerCommand& command) {
  absl::Status sent = process_.Send(command);
  if (absl::IsUnavailable(sent)) return absl::OkStatus();  // it is gone; its end is on its way
  return sent;
}

absl::Status TrainerSession::Read(std::vector<TrainerEvent>& events) {
  PassOutput(events);
  std::vector<v1::TrainerReport> reports;
  absl::Status read = process_.ReadFrames(reports);
  for (v1::TrainerReport& report : reports) {
    if (absl::Status handled = Handle(std::move(report), events); !handled.ok()) return handled;
  }
  return read;
}

void TrainerSession::Condemn(ExitReason reason, bool as_asked) {
  if (!run_.has_value()) return;
  run_->stopping = run_->stopping || as_asked;
  if (!run_->verdict.has_value()) run_->verdict = std::move(reason);
}

void TrainerSession::Finish(const ProcessEnded& ended, std::vector<TrainerEvent>& events) {
  // What its socket holds is finite now, and all of it counts.
  std::vector<v1::TrainerReport> reports;
  process_.ReadFrames(reports, std::numeric_limits<std::size_t>::max()).IgnoreError();  // the end of it, in any case
  for (v1::TrainerReport& report : reports) {
    if (!Handle(std::move(report), events).ok()) break;
  }
  PassOutput(events);
  if (!run_.has_value()) return;
  ExitReason reason = ExplainExit(ended.wait_status, ended.out_of_memory, process_.last_words());
  events.emplace_back(AttemptLost{run_->order.key, run_->verdict.value_or(std::move(reason)), run_->stopping});
  run_.reset();
  stage_ = Stage::kSpent;
}

absl::Status TrainerSession::Handle(v1::TrainerReport report, std::vector<TrainerEvent>& events) {
  if (report.has_hello()) return OnHello(report.hello());
  if (report.has_bound()) return OnBound(report.bound());
  if (!run_.has_value()) return absl::OkStatus();  // late words about an attempt that is over
  const AttemptKey& key = run_->order.key;
  if ((report.has_started() && AttemptKey{report.started().job_id(), report.started().attempt()} != key) ||
      (report.has_ended() && AttemptKey{report.ended().job_id(), report.ended().attempt()} != key)) {
    return absl::InvalidArgumentError("the trainer speaks of an attempt that is not its own");
  }
  deadline_ = SteadyTime::max();
  if (report.has_ended()) {
    OnAttemptEnded(std::move(report), events);
  } else {
    events.emplace_back(AttemptReported{key, std::move(report)});
  }
  return absl::OkStatus();
}

absl::Status TrainerSession::OnHello(const v1::Hello& hello) {
  if (stage_ != Stage::kStarting) return absl::InvalidArgumentError("the trainer said Hello twice");
  if (hello.protocol_min() > kTrainerProtocol || hello.protocol_max() < kTrainerProtocol) {
    return absl::FailedPreconditionError(absl::StrCat("the trainer speaks protocol ", hello.protocol_min(), " to ",
                                                      hello.protocol_max(), ", not ", kTrainerProtocol,
                                                      "; install trainer and worker of the same release"));
  }
  hello_ = hello;
  stage_ = Stage::kWarm;
  deadline_ = SteadyTime::max();
  return absl::OkStatus();
}

absl::Status TrainerSession::OnBound(const v1::Bound& bound) {
  if (stage_ != Stage::kBinding) return absl::InvalidArgumentError("the trainer said Bound unasked");
  if (!bound.error().empty()) {
    return absl::FailedPreconditionError(absl::StrCat("the trainer could not be bound: ", bound.error()));
  }
  sandbox_level_ = bound.sandbox_level().empty() ? "none" : bound.sandbox_level();
  // It was asked to refuse by itself; one that does not, or says what we do not know, is not believed.
  const auto level = process::ParseSandboxLevel(sandbox_level_).value_or(process::SandboxLevel::kNone);
  if (!process::Satisfies(level, required_sandbox_)) {
    return absl::FailedPreconditionError(absl::StrCat("the trainer reached sandbox level ", sandbox_level_, ", and ",
                                                      std::string(process::SandboxLevelName(required_sandbox_)),
                                                      " is required (--require-sandbox)"));
  }
  stage_ = Stage::kBound;
  deadline_ = SteadyTime::max();
  return absl::OkStatus();
}

void TrainerSession::OnAttemptEnded(v1::TrainerReport report, std::vector<TrainerEvent>& events) {
  PassOutput(events);  // what it wrote until here is the attempt's
  const bool reusable =
      report.ended().reusable() && report.ended().state() == v1::Attempt::SUCCEEDED && !run_->stopping;
  events.emplace_back(AttemptReported{run_->order.key, std::move(report)});
  run_.reset();
  stage_ = reusable ? Stage::kBound : Stage::kSpent;
}

void TrainerSession::PassOutput(std::vector<TrainerEvent>& events) {
  for (TrainerOutput& output : process_.ReadOutput()) {
    if (run_.has_value()) {
      events.emplace_back(AttemptOutput{run_->order.key, output.stream, std::move(output.bytes)});
    } else {
      Log(Level::kDebug, "trainer output between attempts",
          {{"pid", process_.pid()}, {"text", output.bytes.substr(0, 1000)}});
    }
  }
}

}  // namespace mantissa::agent
