// The dynamic loss scale: when it grows, when it backs off, when the run has to stop.
#pragma once

#include "mantissa/v1/training.pb.h"
#include "worker/amp/step_state.h"

namespace mantissa::trainer {

// From a spec, with the preset's values where it is silent. Outside FP16 the scale is off, and the limits on skips
// stay.
ScalerSettings ScalerSettingsFrom(const v1::PrecisionSpec& precision, double max_grad_norm);

// The state before the first iteration.
StepState InitialStepState(const ScalerSettings& settings);

// The state machine on the host: the reference of the op `mantissa::update_scale`, and of presets that equal
// PyTorch's, Megatron's, DeepSpeed's and Apex's scalers. One Update per window; not thread-safe.
class LossScaler {
 public:
  explicit LossScaler(const ScalerSettings& settings) : settings_(settings), state_(InitialStepState(settings)) {}

  void Update(bool found_inf);

  double scale() const { return state_.loss_scale; }
  Halt halt() const { return static_cast<Halt>(state_.halt); }
  const StepState& state() const { return state_; }

 private:
  ScalerSettings settings_;
  StepState state_;
};

}  // namespace mantissa::trainer
