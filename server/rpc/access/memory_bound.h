#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "process/clock.h"

namespace mantissa::server {

// Whether the process holds more memory than it should for what others send it. Looks at most every 10 ms, so that it
// may be asked for every call. Thread-safe.
class MemoryBound {
 public:
  // `resident_bytes` is asked from any thread.
  MemoryBound(std::function<std::int64_t()> resident_bytes, std::int64_t most_bytes)
      : resident_bytes_(std::move(resident_bytes)), most_bytes_(most_bytes) {}

  bool Exceeded(process::SteadyTime now);

 private:
  const std::function<std::int64_t()> resident_bytes_;
  const std::int64_t most_bytes_;
  std::atomic<process::SteadyTime::rep> next_look_{process::SteadyTime::min().time_since_epoch().count()};
  std::atomic<bool> exceeded_{false};
};

}  // namespace mantissa::server
