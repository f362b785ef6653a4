#pragma once

#include <vector>

#include "process/clock.h"
#include "process/regular_thread.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/crowd_guard.h"
#include "server/rpc/access/flood_judge.h"
#include "server/rpc/access/reset_guard.h"

namespace mantissa::server {

// Ends the connections of those who fill our memory faster than the transport's quota frees it (Note [Floods]), of
// those who open streams only to reset them (Note [Resets]), and of those who have too many (Note [Crowds]).
//
// Has a thread of its own. Thread-safe.
class FloodGuard {
 public:
  // Of the connections that come in by one of `ports`. The clock and the metrics outlive it.
  FloodGuard(const std::vector<int>& ports, const process::Clock& clock, ServerMetrics& metrics);

 private:
  void LookAtMemory(process::SteadyTime now);

  const std::vector<int> ports_;
  const process::Clock& clock_;
  ServerMetrics& metrics_;
  // The looking thread's alone.
  FloodJudge judge_{FloodJudgeOptions{}};
  process::SteadyTime next_memory_look_ = process::SteadyTime::min();
  ResetGuard resets_;
  CrowdGuard crowds_;
  process::RegularThread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::server
