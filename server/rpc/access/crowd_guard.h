#pragma once

#include <utility>
#include <vector>

#include "process/clock.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/ended_connections.h"
#include "server/rpc/access/inbound_connections.h"

namespace mantissa::server {

// Of all these, who is ended to make room: half of those of the address that has most, who sent least first.
std::vector<InboundConnection> WhoMakesRoom(const std::vector<InboundConnection>& connections);

// Keeps descriptors free, whoever connects and however often (Note [Crowds]). Not thread-safe.
class CrowdGuard {
 public:
  // Of the connections that come in by one of `ports`. The metrics outlive it.
  CrowdGuard(std::vector<int> ports, ServerMetrics& metrics) : ports_(std::move(ports)), ended_(kWhy, metrics) {}

  // As often as one likes: costs three system calls where there is room.
  void Look(process::SteadyTime now);

 private:
  static constexpr char kWhy[] = "too many connections are open, and of the address with most some were ended";

  const std::vector<int> ports_;
  EndedConnections ended_;
  process::SteadyTime next_complaint_ = process::SteadyTime::min();  // of there being no descriptor
};

}  // namespace mantissa::server
