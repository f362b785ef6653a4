// Time as the edges of a program see it. Decisions take a time as an argument; only what calls them owns a Clock.
#pragma once

#include <chrono>

namespace mantissa::process {

using SteadyTime = std::chrono::steady_clock::time_point;
using WallTime = std::chrono::system_clock::time_point;

// Two separate seams: steady time is what leases, timeouts and rates are made of; wall time may jump, and serves only
// to be shown to people and to date what is stored. Implementations are thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual SteadyTime Now() const = 0;
  virtual WallTime WallNow() const = 0;
};

// The machine's clocks. Thread-safe.
class RealClock final : public Clock {
 public:
  SteadyTime Now() const override { return std::chrono::steady_clock::now(); }
  WallTime WallNow() const override { return std::chrono::system_clock::now(); }
};

}  // namespace mantissa::process
