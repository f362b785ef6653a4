#include "worker/trainer/trainer.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include <torch/headeronly/version.h>

#include "process/log.h"
#include "proto/spec/features.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/checkpoint/checkpoint_store.h"
#include "worker/trainer/attempt.h"
#include "worker/trainer/command_control.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"

namespace mantissa::trainer {
namespace {

using process::Level;
using process::Log;
using process::SandboxLevel;

constexpr std::chrono::milliseconds kIdleWait(1000);
constexpr char kCheckpointsRoot[] = "checkpoints";

}  // namespace

Trainer::Trainer(FrameChannel& channel, const process::Clock& clock, const TrainerOptions& options)
    : channel_(channel), clock_(clock), options_(options) {}

absl::Status Trainer::Run() {
  SayHello();
  UseOneStream(options_.device);
  WarmUp(options_.device);
  while (!shutdown_) {
    auto command = channel_.Receive();
    if (process::IsEndOfStream(command.status())) return absl::OkStatus();
    if (!command.ok()) return command.status();
    if (!command->has_value()) {
      channel_.Wait(kIdleWait);
      channel_.Flush();
    } else if (absl::Status handled = Handle(**command); !handled.ok()) {
      return handled;
    }
  }
  channel_.Drain();
  return absl::OkStatus();
}

void Trainer::SayHello() {
  v1::TrainerReport report;
  v1::Hello& hello = *report.mutable_hello();
  hello.set_protocol_min(kProtocol);
  hello.set_protocol_max(kProtocol);
  for (const std::string& feature : spec::BuiltFeatures()) hello.add_features(feature);
  hello.set_version(options_.version);
  hello.set_torch_version(TORCH_VERSION);
  hello.set_cpu_capability(CpuCapability());
  *hello.add_devices() = options_.description;
  channel_.Send(report);
}

absl::Status Trainer::Handle(const v1::TrainerCommand& command) {
  switch (command.body_case()) {
    case v1::TrainerCommand::kHello:
      return OnHello(command.hello());
    case v1::TrainerCommand::kBind:
      OnBind(command.bind());
      break;
    case v1::TrainerCommand::kRun:
      OnRun(command.run());
      break;
    case v1::TrainerCommand::kCheckpointCommitted:
      OnCheckpointCommitted(command.checkpoint_committed());
      break;
    case v1::TrainerCommand::kStop:
      break;  // its attempt ended meanwhile
    case v1::TrainerCommand::kShutdown:
      shutdown_ = true;
      break;
    case v1::TrainerCommand::BODY_NOT_SET:
      Log(Level::kWarning, "a command of a newer agent was dropped");
  }
  return absl::OkStatus();
}

absl::Status Trainer::OnHello(const v1::Hello& hello) {
  if (hello.protocol_min() <= kProtocol && hello.protocol_max() >= kProtocol) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the agent speaks protocol ", hello.protocol_min(), " to ",
                                                    hello.protocol_max(), ", not ", kProtocol,
                                                    "; install trainer and worker of the same release"));
}

void Trainer::OnBind(const v1::Bind& bind) {
  v1::TrainerReport report;
  const absl::StatusOr<SandboxLevel> level = TryBind(bind);
  report.mutable_bound()->set_sandbox_level(
      std::string(process::SandboxLevelName(level.value_or(SandboxLevel::kNone))));
  if (!level.ok()) report.mutable_bound()->set_error(std::string(level.status().message()));
  channel_.Send(report);
}

absl::StatusOr<SandboxLevel> Trainer::TryBind(const v1::Bind& bind) {
  if (bind_) return absl::FailedPreconditionError("this trainer is bound already");
  SandboxLevel required = SandboxLevel::kNone;
  if (const std::string& text = bind.required_sandbox_level(); !text.empty()) {
    const auto known = process::ParseSandboxLevel(text);
    if (!known) {
      return absl::InvalidArgumentError(absl::StrCat("sandbox level ", text,
                                                     " is required, which this trainer does not ",
                                                     "know; install trainer and worker of the same release"));
    }
    required = *known;
  }
  std::vector<process::Root> roots;
  for (const v1::BoundRoot& root : bind.roots()) roots.push_back({root.name(), root.path(), root.writable()});
  auto opened = process::Roots::Open(roots);
  if (!opened.ok()) return opened.status();
  SandboxLevel reached = SandboxLevel::kNone;
  if (options_.enter_sandbox) {
    ResetPeakMemory(options_.device);  // opens, while it may, what it needs later
    auto entered = options_.enter_sandbox(roots);
    if (!entered.ok()) return entered.status();
    reached = *entered;
  }
  if (!process::Satisfies(reached, required)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "sandbox level ", std::string(process::SandboxLevelName(required)), " is required, and this trainer reached ",
        std::string(process::SandboxLevelName(reached)), "; use a kernel that has it, or require less"));
  }
  roots_ = *std::move(opened);
  bind_ = bind;
  return reached;
}

void Trainer::OnRun(const v1::RunAttempt& run) {
  job_id_ = run.job_id();
  process::SetLogFields({{"job", run.job_id()}, {"attempt", run.attempt()}, {"trace_id", run.trace_id()}});
  v1::TrainerReport report;
  *report.mutable_ended() = RunBound(run);
  ++attempts_;
  if (attempts_ >= options_.max_attempts) report.mutable_ended()->set_reusable(false);
  Log(Level::kInfo, "attempt ended", {{"reason", v1::Reason::Code_Name(report.ended().reason())}});
  if (channel_.Send(report)) return;
  // Whatever else the agent has not read, the end must arrive.
  channel_.Drain();
  channel_.Send(report);
}

v1::AttemptEnded Trainer::RunBound(const v1::RunAttempt& run) {
  if (!bind_) {
    v1::AttemptEnded ended;
    ended.set_job_id(run.job_id());
    ended.set_attempt(run.attempt());
    ended.set_state(v1::Attempt::FAILED);
    ended.set_reason(v1::Reason::INTERNAL_ERROR);
    ended.set_message("the agent sent an attempt before it bound the trainer");
    return ended;
  }
  CommandControl control(channel_, clock_, run.job_id(), run.attempt(),
                         [this](const v1::CheckpointCommitted& committed) { OnCheckpointCommitted(committed); });
  std::string storage_id;
  for (const v1::BoundRoot& root : bind_->roots()) {
    if (root.name() == kCheckpointsRoot) storage_id = root.storage_id();
  }
  const int usable = options_.description.cpu_threads();
  const int granted = bind_->device().cpu_threads() > 0 ? bind_->device().cpu_threads() : usable;
  std::vector<v1::PrecisionSpec::Mode> precisions;
  for (const int mode : options_.description.precisions()) {
    precisions.push_back(static_cast<v1::PrecisionSpec::Mode>(mode));
  }
  const AttemptEnvironment environment{.device = options_.device,
                                       .device_name = options_.device.is_cpu() ? "cpu" : options_.description.model(),
                                       .precisions = std::move(precisions),
                                       .threads = std::max(1, granted),
                                       .memory_limit_bytes = bind_->memory_limit_bytes(),
                                       .roots = *roots_,
                                       .checkpoint_storage_id = storage_id,
                                       .version = options_.version,
                                       .channel = channel_,
                                       .control = control,
                                       .clock = clock_,
                                       .recorder = options_.recorder};
  v1::AttemptEnded ended = RunAttempt(run, environment);
  shutdown_ = control.shutdown_requested();
  return ended;
}

void Trainer::OnCheckpointCommitted(const v1::CheckpointCommitted& committed) {
  if (!committed.error().empty()) {
    Log(Level::kWarning, "the server refused a checkpoint",
        {{"checkpoint", committed.name()}, {"error", committed.error()}});
  }
  const process::OpenRoot* root = roots_ ? roots_->Find(kCheckpointsRoot) : nullptr;
  if (root == nullptr) return;
  for (const std::string& path : committed.deletions()) {
    if (absl::Status deleted = CheckpointStore(*root, job_id_).Delete(path); !deleted.ok()) {
      Log(Level::kWarning, "a checkpoint was not deleted", {{"path", path}, {"error", std::string(deleted.message())}});
    }
  }
}

}  // namespace mantissa::trainer
