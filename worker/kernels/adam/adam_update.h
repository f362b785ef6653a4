// What Adam's and AdamW's kernels agree on: the constants of one update, computed once in double.
#pragma once

#include <cmath>
#include <cstdint>

#include "worker/amp/host_device.h"
#include "worker/amp/step_state.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer::kernels {

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

// Of the update that follows `state.step` applied ones.
MANTISSA_HOST_DEVICE inline AdamConstants AdamConstantsOf(const OptimizerSettings& settings, const StepState& state,
                                                          double learning_rate) {
  const double t = static_cast<double>(state.step + 1);
  AdamConstants constants;
  constants.factor = state.factor;
  if (settings.kind == OptimizerSettings::kAdamW) {
    constants.decay = static_cast<float>(1.0 - learning_rate * settings.weight_decay);
  } else {
    constants.l2 = static_cast<float>(settings.weight_decay);
  }
  constants.one_minus_beta1 = static_cast<float>(1.0 - settings.beta1);
  constants.beta2 = static_cast<float>(settings.beta2);
  constants.one_minus_beta2 = static_cast<float>(1.0 - settings.beta2);
  constants.step_size = static_cast<float>(learning_rate / (1.0 - std::pow(settings.beta1, t)));
  constants.inverse_root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(settings.beta2, t)));
  constants.epsilon = static_cast<float>(settings.epsilon);
  return constants;
}

}  // namespace mantissa::trainer::kernels
