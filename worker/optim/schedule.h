// The learning rate as a function of applied steps. Plain data and one function, compiled by nvcc too.
#pragma once

#include <cmath>
#include <cstdint>

#include "worker/amp/host_device.h"

namespace mantissa::v1 {
class ScheduleSpec;
}

namespace mantissa::trainer {

struct Schedule {
  enum Kind : std::int32_t { kConstant = 0, kCosine = 1, kLinear = 2 };

  double learning_rate = 1e-3;  // at the top
  double final_ratio = 0;       // of it, at the horizon
  std::int64_t warmup_steps = 0;
  std::int64_t horizon = 1;  // the run's length in iterations
  std::int32_t kind = kConstant;
  std::int32_t reserved = 0;
};

Schedule ScheduleFrom(const v1::ScheduleSpec& spec, double learning_rate, std::int64_t horizon);

// Of the update that follows `step` applied ones. Warm-up reaches the top with its last step and is never 0.
MANTISSA_HOST_DEVICE inline double LearningRateAt(const Schedule& schedule, std::int64_t step) {
  if (step < schedule.warmup_steps) {
    return schedule.learning_rate * static_cast<double>(step + 1) / static_cast<double>(schedule.warmup_steps);
  }
  if (schedule.kind == Schedule::kConstant) return schedule.learning_rate;
  const std::int64_t length = schedule.horizon - schedule.warmup_steps;
  const std::int64_t at = step - schedule.warmup_steps;
  const double progress = length <= 0 || at >= length ? 1.0 : static_cast<double>(at) / static_cast<double>(length);
  const double remaining =
      schedule.kind == Schedule::kCosine ? 0.5 * (1.0 + std::cos(3.14159265358979323846 * progress)) : 1.0 - progress;
  return schedule.learning_rate * (schedule.final_ratio + (1.0 - schedule.final_ratio) * remaining);
}

}  // namespace mantissa::trainer
