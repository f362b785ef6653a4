// What trainers have to say to the agent, and what it asks of them.
#pragma once

#include <chrono>
#include <string>
#include <variant>
#include <vector>

#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/trainers/exit_reason.h"

namespace mantissa::agent {

struct RunOrder {
  AttemptKey key;
  std::string device_id;
  std::string tenant;
  std::vector<v1::BoundRoot> roots;  // what its trainer is bound to; the same for every order of the tenant
  v1::RunAttempt command;
  std::chrono::milliseconds start_timeout{60'000};  // to the first frame about the attempt; 0: no limit
};

struct StopOrder {
  bool checkpoint = false;             // write one first
  bool or_go_on = false;               // where none can be written
  std::chrono::milliseconds grace{0};  // then it is killed
};

struct AttemptReported {
  AttemptKey key;
  v1::TrainerReport report;  // started, telemetry, heartbeat, checkpoint_saved stop_declined or ended
};

struct AttemptOutput {
  AttemptKey key;
  v1::LogStream::Name stream = v1::LogStream::STDERR;
  std::string bytes;
};

// The attempt is over and its trainer never said so.
struct AttemptLost {
  AttemptKey key;
  ExitReason reason;
  bool as_asked = false;  // the agent had told it to stop
};

// A device came or went.
struct DevicesChanged {};

using TrainerEvent = std::variant<AttemptReported, AttemptOutput, AttemptLost, DevicesChanged>;

}  // namespace mantissa::agent
