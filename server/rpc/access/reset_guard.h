#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "process/clock.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/ended_connections.h"
#include "server/rpc/access/reset_judge.h"

namespace mantissa::server {

// Ends the connections of those who open streams only to reset them, and for a while those that come from the same
// address after that (Note [Resets]). Not thread-safe.
class ResetGuard {
 public:
  // Of the connections that come in by one of `ports`. The metrics outlive it.
  ResetGuard(std::vector<int> ports, ServerMetrics& metrics) : ports_(std::move(ports)), ended_(kWhy, metrics) {}

  // As often as one likes: takes a small part of the processor at most.
  void Look(process::SteadyTime now);

  // Whether new connections are being ended, so that looks should come soon after one another.
  bool Bars(process::SteadyTime now) { return judge_.Bars(now); }

 private:
  static constexpr char kWhy[] = "calls were opened only to be reset, and connections from there were ended";

  // `resetting`, and whose address is barred.
  void End(process::SteadyTime now, const std::vector<std::string>& resetting);

  const std::vector<int> ports_;
  ResetJudge judge_{ResetJudgeOptions{}};
  std::int64_t calls_seen_ = 0;
  process::SteadyTime next_look_ = process::SteadyTime::min();
  EndedConnections ended_;
};

}  // namespace mantissa::server
