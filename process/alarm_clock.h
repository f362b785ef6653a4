// Calls back at a time of the steady clock. gRPC's own alarms wait on the wall clock underneath: set back by an hour,
// it has them ring an hour late.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "process/clock.h"
#include "process/mutex.h"

namespace mantissa::process {

// Thread-safe. The destructor drops what has not rung.
class AlarmClock {
 public:
  using Alarm = std::pair<SteadyTime, std::uint64_t>;

  AlarmClock();
  ~AlarmClock();
  AlarmClock(const AlarmClock&) = delete;
  AlarmClock& operator=(const AlarmClock&) = delete;

  // `ring` is called once, at `at` or soon after it, on this clock's thread: it returns quickly and does not wait.
  Alarm Set(SteadyTime at, std::function<void()> ring);
  // `ring` is not called after this, unless it has begun. Of one that has rung: nothing.
  void Cancel(const Alarm& alarm);

 private:
  void Run();

  Mutex mutex_;
  CondVar changed_;
  std::map<Alarm, std::function<void()>> alarms_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t set_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace mantissa::process
