#pragma once

#include <functional>
#include <thread>

#include "absl/status/status.h"

#include "process/mutex.h"
#include "server/store/active_lock.h"

namespace mantissa::server {

// Watches over the lock of the active server (Note [Standing by]) on a thread of its own, from its construction to its
// destruction. The destructor waits for a look that is under way. Used by one thread at a time.
class LockKeeper {
 public:
  // `on_lost` is called once, from the keeper's thread, when the lock may be another's; then nobody looks any more.
  // `lock` is held, and outlives the keeper.
  LockKeeper(ActiveLock& lock, std::function<void(const absl::Status&)> on_lost);
  ~LockKeeper();

 private:
  void Run();

  ActiveLock& lock_;
  const std::function<void(const absl::Status&)> on_lost_;
  process::Mutex mutex_;
  process::CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::server
