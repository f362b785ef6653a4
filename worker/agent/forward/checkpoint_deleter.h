#pragma once

#include <cstdint>
#include <string>

#include "mantissa/v1/worker_service.pb.h"
#include "process/roots.h"
#include "worker/agent/forward/work_thread.h"
#include "worker/agent/inbox.h"
#include "worker/agent/worker_metrics.h"

namespace mantissa::agent {

// Deletes the checkpoints that the server names, without waiting for the disk. Not thread-safe.
class CheckpointDeleter {
 public:
  // What is referred to outlives this; `inbox` must not run actions after it.
  CheckpointDeleter(const process::OpenRoot& checkpoints, Inbox& inbox, WorkerMetrics& metrics)
      : checkpoints_(checkpoints), inbox_(inbox), metrics_(metrics) {}

  // One that can't be deleted is not asked for again for ever: its files stay, and an operator is told. The trace id is
  // the attempt's; empty for one that is not held any more. `disk` must not work after this is gone.
  void Delete(const v1::CheckpointDeletion& deletion, const std::string& trace_id, WorkThread& disk);
  // Some are not done yet.
  bool busy() const { return open_ > 0; }

 private:
  const process::OpenRoot& checkpoints_;
  Inbox& inbox_;
  WorkerMetrics& metrics_;
  std::int64_t open_ = 0;
};

}  // namespace mantissa::agent
