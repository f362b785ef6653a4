// One attempt: from what the agent sent to how it ended.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <c10/core/Device.h>

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/clock.h"
#include "process/roots.h"
#include "worker/trainer/device_api.h"
#include "worker/trainer/report/frame_channel.h"
#include "worker/trainer/training_run.h"

namespace mantissa::trainer {

// What an attempt runs on; all of it outlives the attempt.
struct AttemptEnvironment {
  c10::Device device = c10::kCPU;
  std::string device_name;  // `cpu`, or the GPU's
  // That the device has arithmetic for; empty: all.
  std::vector<v1::PrecisionSpec::Mode> precisions = {};
  std::int32_t threads = 1;             // that it may use
  std::int64_t memory_limit_bytes = 0;  // of host memory; 0: none
  const process::Roots& roots;          // one of them is `checkpoints`
  std::string checkpoint_storage_id;
  std::string version;  // of this program
  FrameChannel& channel;
  RunControl& control;
  const process::Clock& clock;
  const MantissaRecorder* recorder = nullptr;  // of iterations; null: the device has none
};

// Runs it to its end. Whatever goes wrong, exceptions of LibTorch included, is in the AttemptEnded that is returned
// (and not yet sent): a reason, and a line that names field, cause and remedy. Everything it allocated is gone.
v1::AttemptEnded RunAttempt(const v1::RunAttempt& run, const AttemptEnvironment& environment);

}  // namespace mantissa::trainer
