// What the agent says while an attempt runs.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/clock.h"
#include "worker/trainer/report/frame_channel.h"
#include "worker/trainer/training_run.h"

namespace mantissa::trainer {

// Looks for commands every few milliseconds. An agent that is gone, or whose frames can't be trusted, is a stop without
// a checkpoint: nobody is left to commit one. Once asked for, a stop stays until it is declined. Not thread-safe.
class CommandControl final : public RunControl {
 public:
  // What is referred to must outlive it. `committed` hears of CheckpointCommitted.
  CommandControl(FrameChannel& channel, const process::Clock& clock, std::string job_id, std::int32_t attempt,
                 std::function<void(const v1::CheckpointCommitted&)> committed);

  bool stop_requested() override;
  StopRequest stop() const override { return stop_.value_or(StopRequest{}); }
  void DeclineStop(const absl::Status& why) override;

  // The agent wants the process to end after the attempt.
  bool shutdown_requested() const { return shutdown_; }

 private:
  void ReadCommands();
  void Handle(const v1::TrainerCommand& command);

  FrameChannel& channel_;
  const process::Clock& clock_;
  const std::string job_id_;
  const std::int32_t attempt_;
  const std::function<void(const v1::CheckpointCommitted&)> committed_;
  process::SteadyTime next_look_;
  std::optional<StopRequest> stop_;
  bool shutdown_ = false;
};

}  // namespace mantissa::trainer
