// What a server's answer asks of this worker.
#pragma once

#include <vector>

#include "mantissa/v1/worker_service.pb.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/held_attempts.h"

namespace mantissa::agent {

struct Orders {
  std::vector<v1::DesiredAttempt> start;
  std::vector<AttemptKey> cancel;   // stop without a checkpoint, then report the end
  std::vector<AttemptKey> move_on;  // stop with a checkpoint, then report the end
  std::vector<AttemptKey> abandon;  // end it at once and speak of it no more
  std::vector<AttemptKey> forget;   // its end is recorded
};

// Pure: the difference between the desired state and what is held. The answer is the whole desired state, so an attempt
// that it does not name is one that nobody wants. A worker that is draining starts nothing: its next report does not
// name the attempt, which tells the server so.
Orders Decide(const v1::SynchronizeResponse& desired, const HeldAttempts& held, bool draining);

}  // namespace mantissa::agent
