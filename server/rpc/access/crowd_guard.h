#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "process/clock.h"
#include "server/metrics/server_metrics.h"
#include "server/rpc/access/inbound_connections.h"

namespace mantissa::server {

// Of all these, who is ended to make room: half of those of the address that has most, who sent least first.
std::vector<InboundConnection> WhoMakesRoom(const std::vector<InboundConnection>& connections);

// Keeps descriptors free, whoever connects and however often (Note [Crowds]). Not thread-safe.
class CrowdGuard {
 public:
  // Of the connections that come in by one of `ports`. The metrics outlive it.
  CrowdGuard(std::vector<int> ports, ServerMetrics& metrics) : ports_(std::move(ports)), metrics_(metrics) {}

  // As often as one likes: costs two system calls where there is room.
  void Look(process::SteadyTime now);

 private:
  const std::vector<int> ports_;
  ServerMetrics& metrics_;
  process::SteadyTime next_log_ = process::SteadyTime::min();
  std::int64_t ended_ = 0;  // since the last line of the log
};

}  // namespace mantissa::server
