// Ranges of activations and gradients, measured beside the training: the only way to warn before something overflows.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

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
  static constexpr std::size_t kSamples = 8;
  static constexpr std::size_t kModules = 64;

  // `every`: iterations between two samples; 0: none. Both references outlive it.
  RangeSampler(RunState& state, const StepProgram& program, std::int64_t every);

  // Of the window that `iteration` consumed, when `every` iterations have passed since the last one.
  std::optional<ModuleRanges> SampleIfDue(std::int64_t iteration);
  ModuleRanges Sample(std::int64_t window);

 private:
  RunState& state_;
  const StepProgram& program_;
  const std::int64_t every_;
  std::int64_t sampled_ = 0;  // multiples of `every_`
  std::vector<std::int64_t> indices_;
  Batch batch_;
};

}  // namespace mantissa::trainer
