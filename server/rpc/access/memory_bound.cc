#include "server/rpc/access/memory_bound.h"

#include <chrono>

namespace mantissa::server {
namespace {

constexpr std::chrono::milliseconds kInterval{10};

}  // namespace

bool MemoryBound::Exceeded(process::SteadyTime now) {
  process::SteadyTime::rep due = next_look_.load(std::memory_order_relaxed);
  const process::SteadyTime::rep at = now.time_since_epoch().count();
  // Who moves the time of the next look looks; the others take what was seen last.
  if (at >= due && next_look_.compare_exchange_strong(due, (now + kInterval).time_since_epoch().count(),
                                                      std::memory_order_relaxed)) {
    exceeded_.store(resident_bytes_() > most_bytes_, std::memory_order_relaxed);
  }
  return exceeded_.load(std::memory_order_relaxed);
}

}  // namespace mantissa::server
