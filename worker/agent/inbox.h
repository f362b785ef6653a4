// How other threads hand work to the agent's one thread.
#pragma once

#include <functional>
#include <vector>

#include "process/file_descriptor.h"
#include "process/mutex.h"

namespace mantissa::agent {

// A queue of actions and a descriptor that is readable while it is not empty. Thread-safe.
class Inbox {
 public:
  using Action = std::function<void()>;

  Inbox();

  void Post(Action action);

  // Everything posted so far, in order.
  std::vector<Action> TakeAll();

  int fd() const { return event_.get(); }

 private:
  process::FileDescriptor event_;
  process::Mutex mutex_;
  std::vector<Action> actions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::agent
