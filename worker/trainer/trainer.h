// The conversation of a trainer process with its agent: Hello, Bind, then attempts one after another.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include <c10/core/Device.h>

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/clock.h"
#include "process/roots.h"
#include "process/sandbox_level.h"
#include "worker/trainer/device_api.h"
#include "worker/trainer/report/frame_channel.h"

namespace mantissa::trainer {

inline constexpr std::int32_t kProtocol = 1;  // oldest and newest that this trainer speaks

struct TrainerOptions {
  c10::Device device = c10::kCPU;
  v1::Device description;  // as Hello gives it
  std::string version;
  // Records iterations on the device; null where there is none. Outlives the trainer.
  const MantissaRecorder* recorder = nullptr;
  // After so many a fresh process is cheaper than wondering what has gathered in this one.
  int max_attempts = 1000;
  // Shuts the process in when it is bound, and says how far. None: it is not, as in a test, which goes on afterwards.
  std::function<absl::StatusOr<process::SandboxLevel>(const std::vector<process::Root>&)> enter_sandbox;
};

// Not thread-safe.
class Trainer {
 public:
  // Both must outlive it.
  Trainer(FrameChannel& channel, const process::Clock& clock, const TrainerOptions& options);

  // Until the agent says Shutdown or closes its end (OK), or until no conversation is possible.
  absl::Status Run();

 private:
  void SayHello();
  absl::Status Handle(const v1::TrainerCommand& command);
  absl::Status OnHello(const v1::Hello& hello);
  void OnBind(const v1::Bind& bind);
  absl::StatusOr<process::SandboxLevel> TryBind(const v1::Bind& bind);
  void OnRun(const v1::RunAttempt& run);
  void OnCheckpointCommitted(const v1::CheckpointCommitted& committed);
  v1::AttemptEnded RunBound(const v1::RunAttempt& run);

  FrameChannel& channel_;
  const process::Clock& clock_;
  const TrainerOptions options_;
  std::optional<v1::Bind> bind_;
  std::optional<process::Roots> roots_;
  std::string job_id_;  // of the running attempt, or of the last one
  int attempts_ = 0;
  bool shutdown_ = false;
};

}  // namespace mantissa::trainer
