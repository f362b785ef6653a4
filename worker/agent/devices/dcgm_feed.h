#pragma once

#include <chrono>
#include <map>
#include <string>

#include "absl/status/status.h"

#include "process/clock.h"
#include "worker/agent/devices/dcgm_job_mapping.h"
#include "worker/agent/forward/work_thread.h"
#include "worker/agent/inbox.h"

namespace mantissa::agent {

// Keeps dcgm-exporter told whom each GPU works for, without waiting for its disk. Not thread-safe.
class DcgmFeed {
 public:
  // An empty folder: nobody is told. `disk` and `inbox` do nothing more of what they were given once the feed is gone.
  DcgmFeed(std::string folder, std::chrono::milliseconds interval, Inbox& inbox);

  bool wanted() const { return wanted_; }
  // Tells of `jobs`, by GPU, when they have changed, and every interval, for what could not be written.
  void Show(std::map<unsigned, std::string> jobs, WorkThread& disk, process::SteadyTime now);
  // Something is not written yet.
  bool busy() const { return open_ > 0; }

 private:
  void OnShown(const absl::Status& shown);

  const bool wanted_;
  const std::chrono::milliseconds interval_;
  Inbox& inbox_;
  DcgmJobMapping mapping_;                 // of the disk's thread
  std::map<unsigned, std::string> shown_;  // as it was last told
  process::SteadyTime again_at_ = process::SteadyTime::min();
  int open_ = 0;
  bool fails_ = false;
};

}  // namespace mantissa::agent
