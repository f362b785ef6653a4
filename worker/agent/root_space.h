#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "process/clock.h"
#include "process/roots.h"
#include "worker/agent/forward/work_thread.h"
#include "worker/agent/inbox.h"
#include "worker/agent/worker_metrics.h"

namespace mantissa::agent {

// How much room the roots have, looked up every interval and never waited for: a disk may be one on a network. Not
// thread-safe.
class RootSpace {
 public:
  // What is referred to outlives this; `inbox` must not run actions after it.
  RootSpace(const process::Roots& roots, std::chrono::milliseconds interval, Inbox& inbox, WorkerMetrics& metrics)
      : roots_(roots), interval_(interval), inbox_(inbox), metrics_(metrics) {}

  // Looks when it is time to. `disk` must not work after this is gone.
  void Tick(WorkThread& disk, process::SteadyTime now);
  process::SteadyTime NextDeadline() const { return look_at_; }

  // Absent before the first look, and for a root that could not be asked.
  std::optional<std::int64_t> FreeBytes(const std::string& root) const;

 private:
  const process::Roots& roots_;
  const std::chrono::milliseconds interval_;
  Inbox& inbox_;
  WorkerMetrics& metrics_;
  std::map<std::string, std::int64_t> free_bytes_;  // by root
  process::SteadyTime look_at_ = process::SteadyTime::min();
};

}  // namespace mantissa::agent
