// What the gradients of one window say: apply or skip, by what factor, and who is to blame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/amp/step_state.h"

namespace mantissa::trainer {

// Writes found_inf, cause, loss, grad_norm, factor and used_loss_scale into `state`, unless it is halted. `loss` is the
// window's sum over valid targets divided by their number.
void Judge(const ScalerSettings& settings, std::span<const GradientStats> stats, double loss, StepState* state);

// One parameter with a gradient that is not finite.
struct Offender {
  std::size_t parameter = 0;  // index in forward order
  std::int64_t inf_count = 0;
  std::int64_t nan_count = 0;
};

// In backward order: an overflow near the loss turns into NaN everywhere upstream of it, so the first is the one to
// read.
std::vector<Offender> Offenders(std::span<const GradientStats> stats);

}  // namespace mantissa::trainer
