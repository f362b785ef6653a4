// Times of operations on a device, side by side: in rounds, in each of which every one of them has its turn, so that a
// clock that drifts meets all.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <c10/core/Device.h>

#include "process/clock.h"
#include "worker/trainer/engine.h"

namespace mantissa::trainer {

// Of one call.
struct Timing {
  double median_seconds = 0;
  double p95_seconds = 0;
  int rounds = 0;  // that these are of
};

struct TimingOptions {
  c10::Device device = c10::kCPU;
  int rounds = 30;
  // Each turn is as many calls as take this long, and their mean is the sample: one call alone may be shorter than a
  // look at the clock, and on a GPU shorter than its launch.
  double turn_seconds = 200e-6;
  // Of all rounds together, about: there are fewer where they would take longer, but never fewer than kFewestRounds.
  double most_seconds = 20;
};

inline constexpr int kFewestRounds = 3;

using TimedOperation = std::function<void()>;

// One for each operation, after a warm-up that is not timed; nothing when a stop was requested. On a GPU time is the
// device's, between two events on the current stream; on the CPU the clock's. What an operation throws goes through.
std::optional<std::vector<Timing>> TimeInTurn(const std::vector<TimedOperation>& operations,
                                              const TimingOptions& options, const process::Clock& clock,
                                              Control& control);

}  // namespace mantissa::trainer
