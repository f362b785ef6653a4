// The tensor operations of one iteration, in the one right order.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/amp/precision_policy.h"
#include "worker/data/batch_plan.h"
#include "worker/data/dataset.h"
#include "worker/trainer/engine.h"
#include "worker/trainer/run_state.h"

namespace mantissa::trainer {

struct StepProgramOptions {
  const Dataset& data;
  BatchPlan plan;
  PrecisionPolicy policy;
  std::uint64_t seed = 0;
  ActivationProbe* probe = nullptr;  // sees every forward pass
};

// Reads nothing back from the device. Not thread-safe.
class StepProgram {
 public:
  StepProgram(RunState& state, const StepProgramOptions& options);

  // One window, `iteration` windows having been consumed before. False when a stop request came between two
  // micro-batches: nothing but gradients has changed then.
  bool Run(std::int64_t iteration, Control& control);

  // Forward and backward pass of one micro-batch, whose gradients are added to the parameters'. Returns the sum of its
  // losses. `probe` may be null.
  at::Tensor RunMicroBatch(std::int64_t window, std::int64_t micro_batch, ActivationProbe* probe);
  // What the last micro-batch read.
  const Batch& batch() const { return batch_; }

  // What the backward pass of each of the window's micro-batches starts with.
  const at::Tensor& BackwardSeed(std::int64_t window) const;

  std::int64_t MicroBatchesIn(std::int64_t window) const { return options_.plan.MicroBatches(window); }
  const StepProgramOptions& options() const { return options_; }
  std::int64_t SamplesIn(std::int64_t iteration) const {
    return options_.plan.WindowSize(options_.plan.WindowAfter(iteration));
  }

 private:
  std::int64_t TargetsIn(std::int64_t window) const { return options_.plan.WindowSize(window) * targets_per_sample_; }

  RunState& state_;
  const StepProgramOptions options_;
  const std::int64_t targets_per_sample_;
  std::vector<std::int64_t> indices_;
  Batch batch_;
};

}  // namespace mantissa::trainer
