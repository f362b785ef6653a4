#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>

#include "worker/agent/devices/gpu_readings.h"

namespace mantissa::agent {

// Reads the GPUs again and again on a thread of its own, so that a driver call that hangs holds up nobody: who asks
// gets the newest readings, and none once they are too old to be of now. The destructor leaves a thread that hangs
// behind. Thread-safe.
class GpuPoller {
 public:
  struct Options {
    std::chrono::milliseconds interval{5'000};
    std::chrono::milliseconds fresh_for{20'000};  // readings older than this are none
    std::chrono::milliseconds end_within{1'000};  // how long the destructor waits for a read that is under way
  };

  // `read` runs on the thread alone, and may block; what it holds may outlive the poller.
  GpuPoller(std::function<GpuReadings()> read, Options options);
  ~GpuPoller();

  std::optional<GpuReadings> Newest() const;

 private:
  struct State;
  const std::shared_ptr<State> state_;  // the thread's, too
};

}  // namespace mantissa::agent
