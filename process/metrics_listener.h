#pragma once

#include <string>
#include <vector>

namespace mantissa::process {

// How a program listens for scrapes of its /metrics: CivetWeb's options, as prometheus::Exposer takes them. One scraper
// needs one thread; the others are for who connects and says nothing, a port scanner say: each holds a thread until
// its time is over, and with a single one nobody would see a metric for so long.
inline std::vector<std::string> MetricsListenerOptions(const std::string& address) {
  return {"listening_ports", address, "num_threads", "16", "request_timeout_ms", "5000"};
}

}  // namespace mantissa::process
