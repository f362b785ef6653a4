#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "process/clock.h"
#include "server/metrics/server_metrics.h"

namespace mantissa::server {

// Counts connections that were ended for one reason, and says so: at most a line a second, for who is ended may come
// many times. Not thread-safe.
class EndedConnections {
 public:
  // `why` is what the log says. The metrics outlive it.
  EndedConnections(std::string why, ServerMetrics& metrics) : why_(std::move(why)), metrics_(metrics) {}

  void Add(process::SteadyTime now, const std::string& peer);

 private:
  const std::string why_;
  ServerMetrics& metrics_;
  process::SteadyTime next_log_ = process::SteadyTime::min();
  std::int64_t ended_ = 0;  // since the last line
};

}  // namespace mantissa::server
