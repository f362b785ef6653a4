// A clock that moves on a little with every look at it, as if everything took that long.
#pragma once

#include <chrono>

#include "process/fake_clock.h"

namespace mantissa::trainer {

// Thread-safe.
class TickingClock final : public process::Clock {
 public:
  explicit TickingClock(std::chrono::nanoseconds tick) : tick_(tick) {}

  process::SteadyTime Now() const override {
    clock_.Advance(tick_);
    return clock_.Now();
  }
  process::WallTime WallNow() const override { return clock_.WallNow(); }

 private:
  const std::chrono::nanoseconds tick_;
  mutable process::FakeClock clock_;
};

}  // namespace mantissa::trainer
