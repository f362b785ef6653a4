// What the optimizer's op is told once per run. Plain data, in a byte tensor on the device; compiled by nvcc too.
#pragma once

#include <cstdint>

#include "worker/optim/schedule.h"

namespace mantissa::trainer {

struct OptimizerSettings {
  enum Kind : std::int32_t { kAdamW = 0, kAdam = 1, kSgd = 2 };

  Schedule schedule;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;  // of the chunks marked decayed; decoupled in AdamW, added to the gradient elsewhere
  double momentum = 0;
  std::int32_t kind = kAdamW;
  std::int32_t nesterov = 0;
};

}  // namespace mantissa::trainer
