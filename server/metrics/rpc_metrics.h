#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "process/mutex.h"
#include "server/metrics/server_metrics.h"

namespace mantissa::server {

// Counts calls by method and code. A series begins with its first call, so methods that nobody calls cost nothing.
// Thread-safe.
class RpcMetrics {
 public:
  explicit RpcMetrics(ServerMetrics& metrics) : metrics_(metrics) {}

  // `method` is Service/Method of our own protos, `code` UPPER_SNAKE.
  void Count(const std::string& method, const std::string& code);
  void CountTimed(const std::string& method, const std::string& code, std::chrono::nanoseconds took);

 private:
  ServerMetrics& metrics_;
  process::Mutex mutex_;
  std::map<std::pair<std::string, std::string>, prometheus::Counter*> counters_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, prometheus::Histogram*, std::less<>> histograms_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
