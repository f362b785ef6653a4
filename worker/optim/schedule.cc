#include "worker/optim/schedule.h"

#include "mantissa/v1/training.pb.h"

namespace mantissa::trainer {

Schedule ScheduleFrom(const v1::ScheduleSpec& spec, double learning_rate, std::int64_t horizon) {
  Schedule schedule;
  schedule.learning_rate = learning_rate;
  schedule.horizon = horizon;
  switch (spec.kind_case()) {
    case v1::ScheduleSpec::kCosine:
      schedule.kind = Schedule::kCosine;
      schedule.warmup_steps = spec.cosine().warmup_steps();
      schedule.final_ratio = spec.cosine().final_ratio();
      break;
    case v1::ScheduleSpec::kLinear:
      schedule.kind = Schedule::kLinear;
      schedule.warmup_steps = spec.linear().warmup_steps();
      schedule.final_ratio = spec.linear().final_ratio();
      break;
    case v1::ScheduleSpec::kConstant:
    case v1::ScheduleSpec::KIND_NOT_SET:
      schedule.warmup_steps = spec.constant().warmup_steps();
      break;
  }
  return schedule;
}

}  // namespace mantissa::trainer
