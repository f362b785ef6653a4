#pragma once

#include <functional>

#include "absl/status/status.h"

#include "process/regular_thread.h"
#include "server/store/active_lock.h"

namespace mantissa::server {

// Watches over the lock of the active server (Note [Standing by]) on a thread of its own, from its construction to its
// destruction. The destructor waits for a look that is under way. Used by one thread at a time.
class LockKeeper {
 public:
  // `on_lost` is called once, from the keeper's thread, when the lock may be another's; then nobody looks any more.
  // `lock` is held, and outlives the keeper.
  LockKeeper(ActiveLock& lock, std::function<void(const absl::Status&)> on_lost);

 private:
  // False when the lock may be another's; then somebody has been told.
  bool Look();

  ActiveLock& lock_;
  const std::function<void(const absl::Status&)> on_lost_;
  int looks_ = 0;                  // the keeper's thread's alone
  process::RegularThread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::server
