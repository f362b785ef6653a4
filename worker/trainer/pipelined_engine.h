// What the engines share: how far they go, how many iterations they have in flight, and what they make of each.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "process/clock.h"
#include "worker/trainer/engine.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

// Starts iterations, and learns of them in their order, at most `in_flight` later. Decides on what it has been told
// only. How an iteration is run, and how word of it comes back, is the derived class's. Not thread-safe.
class PipelinedEngine : public Engine {
 public:
  // Of iterations that may have been started before the host knows what became of the first of them.
  static constexpr int kMostInFlight = 4;

  bool RunUntil(const Boundary& boundary, Control& control) final;
  std::vector<IterationReport> Poll() final;
  void Drain() final;
  Progress progress() final;

 protected:
  // All references outlive it. `in_flight` is 1 to kMostInFlight.
  PipelinedEngine(RunState& state, StepProgram& program, const process::Clock& clock, int in_flight);

  struct Learned {
    StepState state;  // after it
    // That it took on the device; nothing where the host's clock is to say.
    std::optional<std::chrono::nanoseconds> took;
  };

  // Runs the next iteration, `iteration` windows having been consumed before it. False when a stop request came first.
  virtual bool StartIteration(std::int64_t iteration, Control& control) = 0;
  // Whether it may be started while others are in flight.
  virtual bool MayFollow([[maybe_unused]] std::int64_t iteration) const { return true; }
  // Started and not finished.
  virtual int pending() const = 0;
  // Waits for the oldest that is pending.
  virtual Learned FinishIteration() = 0;
  // Of the one that was finished last, where it was skipped; valid until the next start.
  virtual std::span<const GradientStats> stats() const = 0;

  RunState& state() { return state_; }
  StepProgram& program() { return program_; }
  const StepProgram& program() const { return program_; }

 private:
  // Starts what may be started; false when a stop request came in between.
  bool Start(const Boundary& boundary, Control& control);
  // Waits for the oldest iteration in flight.
  void Learn();
  void Report(const Learned& learned, process::SteadyTime began);
  void Refresh();

  RunState& state_;
  StepProgram& program_;
  const process::Clock& clock_;
  // Wall time of steady time zero: records of an attempt never step back with the wall clock.
  const std::int64_t wall_offset_nanos_;
  const int in_flight_;
  StepState known_;              // after the last iteration the host was told of
  process::SteadyTime learned_;  // when that was, or when RunUntil began
  std::vector<IterationReport> reports_;
};

}  // namespace mantissa::trainer
