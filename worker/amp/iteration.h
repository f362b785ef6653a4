// The device side of an iteration after the backward pass: statistics, verdict and scale, as tensors that stay where
// they are. The order is fixed by the names:
//
//   iteration.Measure(gradients);            // one pass over the flat gradients
//   iteration.Judge(loss_sum, targets);      // found_inf and the factor that unscales and clips
//   optimizer.Step(iteration.state());       // a skipped iteration writes nothing
//   iteration.Finish();                      // scale, counters, latch
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "worker/amp/step_state.h"

namespace mantissa::trainer {

// Allocates once; an iteration allocates nothing. Not thread-safe.
class IterationState {
 public:
  // `chunks`: int64 (C, 4) on the device, see Chunk; `parameter_count` of them have gradients.
  IterationState(const ScalerSettings& settings, const at::Tensor& chunks, std::int64_t parameter_count,
                 at::Device device);

  // What the scaled loss starts its backward pass with: loss_scale / targets, FP32, 0-dim, on the device. `targets` is
  // the window's number of valid targets, above 0. Overwritten by the next call.
  const at::Tensor& BackwardSeed(std::int64_t targets);

  // `gradients`: FP32, flat.
  void Measure(const at::Tensor& gradients);
  // `loss_sum`: over the window's valid targets, FP32 or double, one element, unscaled.
  void Judge(const at::Tensor& loss_sum, std::int64_t targets);
  void Finish();

  // Whether the iteration under way changes anything: bool, 0-dim, on the device. Between Judge and Finish.
  at::Tensor Applied() const;

  // The StepState as a byte tensor: argument of the optimizer's op, part of a snapshot.
  const at::Tensor& state() const { return state_; }
  // Copies; on CUDA these wait for the device.
  StepState ReadState() const;
  void WriteState(const StepState& state);
  std::vector<GradientStats> ReadStats() const;

  // What Measure has written, as a byte tensor: GradientStats for each parameter.
  const at::Tensor& stats() const { return stats_; }

  const ScalerSettings& settings() const { return settings_; }

 private:
  const ScalerSettings settings_;
  at::Tensor settings_tensor_;
  at::Tensor chunks_;
  at::Tensor state_;
  // Views of fields in state_.
  at::Tensor found_inf_;
  at::Tensor halt_;
  at::Tensor seed_;
  at::Tensor chunk_stats_;
  at::Tensor stats_;
};

}  // namespace mantissa::trainer
