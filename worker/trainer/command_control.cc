#include "worker/trainer/command_control.h"

#include <chrono>
#include <utility>

#include "process/log.h"

namespace mantissa::trainer {
namespace {

constexpr std::chrono::milliseconds kLookInterval(2);

}  // namespace

CommandControl::CommandControl(FrameChannel& channel, const process::Clock& clock, std::string job_id,
                               std::int32_t attempt, std::function<void(const v1::CheckpointCommitted&)> committed)
    : channel_(channel),
      clock_(clock),
      job_id_(std::move(job_id)),
      attempt_(attempt),
      committed_(std::move(committed)) {}

bool CommandControl::stop_requested() {
  if (stop_) return true;
  const process::SteadyTime now = clock_.Now();
  if (now >= next_look_) {
    next_look_ = now + kLookInterval;
    ReadCommands();
  }
  return stop_.has_value();
}

void CommandControl::DeclineStop(const absl::Status& why) {
  v1::TrainerReport report;
  report.mutable_stop_declined()->set_job_id(job_id_);
  report.mutable_stop_declined()->set_attempt(attempt_);
  report.mutable_stop_declined()->set_message(std::string(why.message()));
  channel_.Send(report);
  stop_.reset();
}

void CommandControl::ReadCommands() {
  for (;;) {
    auto command = channel_.Receive();
    if (!command.ok()) {
      stop_ = StopRequest{};
      shutdown_ = true;
      return;
    }
    if (!command->has_value()) return;
    Handle(**command);
  }
}

void CommandControl::Handle(const v1::TrainerCommand& command) {
  switch (command.body_case()) {
    case v1::TrainerCommand::kStop:
      // A stop that is meant for an attempt that ended before it came is nothing to this one. A second stop may take
      // the wish for a checkpoint back.
      if (command.stop().job_id() == job_id_ && command.stop().attempt() == attempt_) {
        stop_ = StopRequest{command.stop().checkpoint(), command.stop().or_go_on()};
      }
      return;
    case v1::TrainerCommand::kCheckpointCommitted:
      committed_(command.checkpoint_committed());
      return;
    case v1::TrainerCommand::kShutdown:
      stop_ = StopRequest{};
      shutdown_ = true;
      return;
    default:
      process::Log(process::Level::kWarning, "a command that does not belong into an attempt was dropped");
  }
}

}  // namespace mantissa::trainer
