#include "worker/amp/loss_scaler.h"

#include "proto/spec/defaults.h"
#include "worker/amp/step_decisions.h"

namespace mantissa::trainer {

ScalerSettings ScalerSettingsFrom(const v1::PrecisionSpec& precision, double max_grad_norm) {
  ScalerSettings settings;
  settings.max_grad_norm = max_grad_norm;
  settings.check_loss = !precision.has_check_loss() || precision.check_loss() ? 1 : 0;
  if (precision.mode() != v1::PrecisionSpec::FP16) return settings;

  const v1::LossScaleSpec& given = precision.loss_scale();
  v1::LossScaleSpec spec = spec::LossScalePreset(given.preset());
  spec.MergeFrom(given);
  settings.enabled = 1;
  settings.init = spec.init();
  settings.growth_factor = spec.growth_factor();
  settings.backoff_factor = spec.backoff_factor();
  settings.growth_interval = spec.growth_interval();
  settings.hysteresis = spec.hysteresis();
  settings.consecutive_hysteresis = spec.consecutive_hysteresis() ? 1 : 0;
  // The scale is an FP32 number, and the one next to 0.1 is above it: it would stand there and never be at its floor.
  settings.min = static_cast<float>(spec.min());
  settings.max = spec.max();
  const v1::PrecisionSpec::OnFailure on_failure = precision.on_failure() != v1::PrecisionSpec::ON_FAILURE_UNSPECIFIED
                                                      ? precision.on_failure()
                                                      : spec::DefaultOnFailure(precision);
  settings.halt_at_floor = on_failure != v1::PrecisionSpec::CLAMP ? 1 : 0;
  return settings;
}

StepState InitialStepState(const ScalerSettings& settings) {
  StepState state;
  state.loss_scale = settings.enabled != 0 ? static_cast<float>(settings.init) : 1.0f;
  state.used_loss_scale = state.loss_scale;
  state.hysteresis_tracker = settings.hysteresis;
  return state;
}

void LossScaler::Update(bool found_inf) {
  state_.found_inf = found_inf ? 1.0f : 0.0f;
  AdvanceScale(settings_, &state_);
}

}  // namespace mantissa::trainer
