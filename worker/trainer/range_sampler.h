// Ranges of activations and gradients, measured beside the training: the only way to warn before something overflows.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "process/clock.h"
#include "worker/amp/value_range.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

// A forward and backward pass over a few samples in FP32, so that true magnitudes are seen, with the run's loss scale
// and the window's number of targets, so that gradients are those of the run. What it adds to parameters' gradients is
// taken back, and running statistics wait for a commit that never comes: no bit of the training is touched. Not
// thread-safe.
class RangeSampler {
 public:
  static constexpr std::int64_t kSamples = 8;
  // Of sequences of tokens no more than this many together, but one at least: they are many samples each.
  static constexpr std::int64_t kTokens = 1024;
  static constexpr std::size_t kModules = 64;
  // Of the run's time that samples may take, the first one aside. They are telemetry: a model whose samples cost more
  // is looked at less often.
  static constexpr double kShare = 0.005;

  // `every`: iterations between two samples; 0: none. All references outlive it.
  RangeSampler(RunState& state, const StepProgram& program, std::int64_t every, const process::Clock& clock);

  // Of the window that `iteration` consumed, when `every` iterations have passed since the last one and kShare allows
  // it.
  std::optional<ModuleRanges> SampleIfDue(std::int64_t iteration);
  ModuleRanges Sample(std::int64_t window);

 private:
  RunState& state_;
  const StepProgram& program_;
  const std::int64_t every_;
  const process::Clock& clock_;
  const process::SteadyTime began_;
  process::SteadyTime::duration spent_{};  // on samples
  std::int64_t sampled_ = 0;               // multiples of `every_`
  std::vector<std::int64_t> indices_;
  Batch batch_;
};

}  // namespace mantissa::trainer
