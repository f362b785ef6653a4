// Sleeps for real, as a stream of the server does.
#pragma once

#include "process/mutex.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

// Thread-safe.
class Bed : public Wakeable {
 public:
  void Wake() override {
    process::MutexLock lock(mutex_);
    woken_ = true;
    changed_.NotifyAll();
  }
  void Sleep() {
    process::MutexLock lock(mutex_);
    while (!woken_) changed_.Wait(mutex_);
    woken_ = false;
  }

 private:
  process::Mutex mutex_;
  process::CondVar changed_;
  bool woken_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace mantissa::server
