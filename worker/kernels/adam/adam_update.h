// What Adam's and AdamW's kernels agree on: the constants of one update, computed in double.
#pragma once

#include <cmath>
#include <cstdint>

#include "worker/amp/host_device.h"
#include "worker/amp/step_state.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer::kernels {

// A gradient beyond this, unscaled and clipped, counts as this: its square is finite. Else the second moment would be
// Inf for ever, and with it every later update of that element 0. (Without clipping, gradients can be as large.)
inline constexpr float kLargestAdamGradient = 0x1p63f;

struct AdamConstants {
  float factor = 1;  // unscales and clips
  float decay = 1;   // AdamW: 1 - learning rate x weight decay
  float l2 = 0;      // Adam: weight decay
  float one_minus_beta1 = 0;
  float beta2 = 0;
  float one_minus_beta2 = 0;
  float step_size = 0;
  float inverse_root = 1;  // 1 / sqrt(1 - beta2^t)
  float epsilon = 0;
};

// What all parameters have in common in one update: computed once, because `pow` is slow.
struct AdamUpdate {
  AdamConstants constants;      // decay, l2 and step_size left open
  double learning_rate = 0;     // the schedule's
  double first_correction = 1;  // 1 - beta1^t
  bool decoupled = true;        // AdamW
};

// Of the update that follows `state.step` applied ones.
MANTISSA_HOST_DEVICE inline AdamUpdate AdamUpdateOf(const OptimizerSettings& settings, const StepState& state,
                                                    double learning_rate) {
  const double t = static_cast<double>(state.step + 1);
  AdamUpdate update;
  update.learning_rate = learning_rate;
  update.first_correction = 1.0 - std::pow(settings.beta1, t);
  update.decoupled = settings.kind == OptimizerSettings::kAdamW;
  AdamConstants& constants = update.constants;
  constants.factor = state.factor;
  constants.one_minus_beta1 = static_cast<float>(1.0 - settings.beta1);
  constants.beta2 = static_cast<float>(settings.beta2);
  constants.one_minus_beta2 = static_cast<float>(1.0 - settings.beta2);
  constants.inverse_root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(settings.beta2, t)));
  constants.epsilon = static_cast<float>(settings.epsilon);
  return update;
}

MANTISSA_HOST_DEVICE inline AdamConstants AdamConstantsOf(const AdamUpdate& update, const UpdateRule& rule) {
  AdamConstants constants = update.constants;
  const double rate = update.learning_rate * rule.rate_factor;
  if (update.decoupled) {
    constants.decay = static_cast<float>(1.0 - rate * rule.weight_decay);
  } else {
    constants.l2 = static_cast<float>(rule.weight_decay);
  }
  constants.step_size = static_cast<float>(rate / update.first_correction);
  return constants;
}

// What the moments see of a gradient; finite ones only come here.
MANTISSA_HOST_DEVICE inline float Bounded(float gradient) {
  const float below = gradient < kLargestAdamGradient ? gradient : kLargestAdamGradient;
  return below > -kLargestAdamGradient ? below : -kLargestAdamGradient;
}

}  // namespace mantissa::trainer::kernels
