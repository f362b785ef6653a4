// A thread for work that waits on a disk or on the network.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "process/mutex.h"

namespace mantissa::agent {

// Runs what it is given, one after another. Destroying it drops what has not begun and waits for what has. Thread-safe.
class WorkThread {
 public:
  using Work = std::function<void()>;

  WorkThread() : thread_([this] { Run(); }) {}
  ~WorkThread();

  void Post(Work work);

 private:
  void Run();

  process::Mutex mutex_;
  process::CondVar changed_;
  std::deque<Work> queue_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::agent
