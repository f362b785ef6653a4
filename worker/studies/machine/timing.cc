#include "worker/studies/machine/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>
#include <memory>

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "worker/studies/sample_statistics.h"

namespace mantissa::trainer {
namespace {

constexpr int kWarmUpCalls = 4;
constexpr int kMostCalls = 10'000;

// Of some calls of an operation on one device.
class Stopwatch {
 public:
  Stopwatch(c10::Device device, const process::Clock& clock) : device_(device), clock_(clock) {
    if (device.is_cpu()) return;
    // The flag of events that keep their time.
    begin_ = std::make_unique<c10::Event>(device.type(), c10::EventFlag::BACKEND_DEFAULT);
    end_ = std::make_unique<c10::Event>(device.type(), c10::EventFlag::BACKEND_DEFAULT);
  }

  // Seconds of all calls together.
  double Time(const TimedOperation& operation, int calls) {
    if (device_.is_cpu()) {
      const process::SteadyTime began = clock_.Now();
      for (int i = 0; i < calls; ++i) operation();
      return std::chrono::duration<double>(clock_.Now() - began).count();
    }
    const c10::Stream stream = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    begin_->record(stream);
    for (int i = 0; i < calls; ++i) operation();
    end_->record(stream);
    end_->synchronize();
    constexpr double kMilli = 1e-3;
    return begin_->elapsedTime(*end_) * kMilli;
  }

 private:
  const c10::Device device_;
  const process::Clock& clock_;
  // Of a device that is no CPU. Not optional: under sanitizers GCC 12 takes what is in one for uninitialised.
  std::unique_ptr<c10::Event> begin_;
  std::unique_ptr<c10::Event> end_;
};

Timing TimingOf(const std::vector<double>& samples) {
  return {Quantile(samples, 0.5), Quantile(samples, 0.95), static_cast<int>(samples.size())};
}

// Calls of a turn, of an operation that takes so long.
int CallsFor(double seconds, double turn_seconds) {
  if (!(seconds > 0)) return kMostCalls;
  return static_cast<int>(std::clamp(std::ceil(turn_seconds / seconds), 1.0, double{kMostCalls}));
}

}  // namespace

std::optional<std::vector<Timing>> TimeInTurn(const std::vector<TimedOperation>& operations,
                                              const TimingOptions& options, const process::Clock& clock,
                                              Control& control) {
  Stopwatch stopwatch(options.device, clock);
  std::vector<int> calls;
  double round_seconds = 0;
  for (const TimedOperation& operation : operations) {
    // The shortest: the first calls prepare what later ones find, and any may be interrupted.
    double once = std::numeric_limits<double>::infinity();
    for (int i = 0; i < kWarmUpCalls; ++i) {
      if (control.stop_requested()) return std::nullopt;
      once = std::min(once, stopwatch.Time(operation, 1));
    }
    calls.push_back(CallsFor(once, options.turn_seconds));
    round_seconds += once * calls.back();
  }
  const double fewest = std::min(kFewestRounds, options.rounds);
  const double most = options.rounds;
  const double within = round_seconds > 0 ? options.most_seconds / round_seconds : most;
  const int rounds = static_cast<int>(std::clamp(within, fewest, most));

  std::vector<std::vector<double>> samples(operations.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if (control.stop_requested()) return std::nullopt;
      samples[i].push_back(stopwatch.Time(operations[i], calls[i]) / calls[i]);
    }
  }
  std::vector<Timing> timings;
  for (const std::vector<double>& of_one : samples) timings.push_back(TimingOf(of_one));
  return timings;
}

}  // namespace mantissa::trainer
