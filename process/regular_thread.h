#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "process/mutex.h"

namespace mantissa::process {

// A thread that does the same again and again, with a pause after each time, from its construction to its destruction.
// The destructor does not wait for a pause to pass, but for work that is under way. Thread-safe.
class RegularThread {
 public:
  // The first time is at once. `work` says how long the pause after it is; nothing: it is not done again.
  explicit RegularThread(std::function<std::optional<std::chrono::milliseconds>()> work);
  ~RegularThread();
  RegularThread(const RegularThread&) = delete;
  RegularThread& operator=(const RegularThread&) = delete;

 private:
  void Run();

  const std::function<std::optional<std::chrono::milliseconds>()> work_;
  Mutex mutex_;
  CondVar stopped_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::process
