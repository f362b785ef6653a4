#pragma once

#include "server/store/group_commit.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

// Wakes those whom a commit concerns: calls of workers that hang, readers of logs that wait for an attempt to begin, to
// end, and for its worker's last word of it. Thread-safe.
class CommitWakes final : public CommitListener {
 public:
  CommitWakes(WakeSignal& workers, WakeSignal& logs) : workers_(workers), logs_(logs) {}

  void OnCommitted(const Changes& changes) override;

 private:
  WakeSignal& workers_;
  WakeSignal& logs_;
};

}  // namespace mantissa::server
