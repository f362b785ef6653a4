// What the optimizer's op is told once per run. Plain data, in byte tensors on the device; compiled by nvcc too.
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
  double momentum = 0;
  std::int32_t kind = kAdamW;
  std::int32_t nesterov = 0;
};

// One parameter's share in an update; the table has one for each.
struct UpdateRule {
  double rate_factor = 1;   // of the schedule's learning rate
  double weight_decay = 0;  // decoupled in AdamW, added to the gradient elsewhere
};

}  // namespace mantissa::trainer
