// The tensor operations of one iteration, in the one right order.
#pragma once

#include <cstdint>
#include <optional>
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

  // The next window of the run, with nothing from the host: its number, its samples and its random draws follow from
  // the state, on the device. To the last bit what Run does. `size` is WindowSize of that window, and fixes every
  // shape; of another size only a halted run may be given one. Allocates what it needs and keeps none of it. The data
  // have to be on the device (Dataset::GatherPlaces).
  void RunNext(std::int64_t size);

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
  // What RunNext reads beside the state, on the device.
  struct Position {
    at::Tensor order;    // SampleOrder
    at::Tensor skipped;  // WindowRange of what the lineage leaves out
    at::Tensor window;   // int64, one element: the iteration's
  };

  std::int64_t TargetsIn(std::int64_t window) const { return options_.plan.WindowSize(window) * targets_per_sample_; }
  Position MakePosition() const;
  void Begin();
  at::Tensor RunPasses(const Batch& batch, const RandomKey& key, ActivationProbe* probe, const at::Tensor& seed);
  // Sums over micro-batches are kept in double: there may be thousands of them.
  static void AddLoss(const at::Tensor& loss, std::int64_t micro_batches, at::Tensor& sum);
  void Update(const at::Tensor& loss_sum, std::int64_t targets);

  RunState& state_;
  const StepProgramOptions options_;
  const std::int64_t targets_per_sample_;
  std::vector<std::int64_t> indices_;
  Batch batch_;
  std::optional<Position> position_;  // made when it is first needed
};

}  // namespace mantissa::trainer
