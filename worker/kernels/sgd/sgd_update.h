// What SGD's kernels agree on.
#pragma once

#include "worker/amp/host_device.h"
#include "worker/amp/step_state.h"
#include "worker/optim/optimizer_settings.h"

namespace mantissa::trainer::kernels {

struct SgdConstants {
  float factor = 1;  // unscales and clips
  float l2 = 0;
  float momentum = 0;
  float learning_rate = 0;
};

// `learning_rate`: the schedule's.
MANTISSA_HOST_DEVICE inline SgdConstants SgdConstantsOf(const OptimizerSettings& settings, const StepState& state,
                                                        double learning_rate, const UpdateRule& rule) {
  SgdConstants constants;
  constants.factor = state.factor;
  constants.l2 = static_cast<float>(rule.weight_decay);
  constants.momentum = static_cast<float>(settings.momentum);
  constants.learning_rate = static_cast<float>(learning_rate * rule.rate_factor);
  return constants;
}

}  // namespace mantissa::trainer::kernels
