// A clock that stands still until a test moves it.
#pragma once

#include <chrono>

#include "process/clock.h"
#include "process/mutex.h"

namespace mantissa::process {

// Starts at a fixed instant: one hour of steady time, 2026-01-01T00:00:00Z of wall time. Thread-safe.
class FakeClock final : public Clock {
 public:
  SteadyTime Now() const override {
    MutexLock lock(mutex_);
    return steady_;
  }
  WallTime WallNow() const override {
    MutexLock lock(mutex_);
    return wall_;
  }

  // Moves both clocks, as real time would.
  void Advance(std::chrono::nanoseconds by) {
    MutexLock lock(mutex_);
    steady_ += std::chrono::duration_cast<SteadyTime::duration>(by);
    wall_ += std::chrono::duration_cast<WallTime::duration>(by);
  }

  // Steps the wall clock alone, forwards or back, as an administrator or a time server would.
  void StepWall(std::chrono::nanoseconds by) {
    MutexLock lock(mutex_);
    wall_ += std::chrono::duration_cast<WallTime::duration>(by);
  }

 private:
  mutable Mutex mutex_;
  SteadyTime steady_ ABSL_GUARDED_BY(mutex_){std::chrono::hours(1)};
  WallTime wall_ ABSL_GUARDED_BY(mutex_){std::chrono::seconds(1767225600)};
};

}  // namespace mantissa::process
