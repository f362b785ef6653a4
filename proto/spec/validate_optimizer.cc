#include "absl/strings/str_cat.h"

#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr Interval kLearningRate = {.min = 0, .max = 1000, .min_open = true};
constexpr Interval kMovingAverage = {.min = 0, .max = 1, .max_open = true};
// Its square root must not vanish beside a 32-bit float's smallest normal number.
constexpr Interval kEpsilon = {.min = 1e-30, .max = 1};
constexpr Interval kWeightDecay = {.min = 0, .max = 1000};

// Adam and AdamW have the same fields.
template <typename AdamKind>
void CheckAdam(const AdamKind& adam, Checker checker) {
  checker.Number("learning_rate", adam.learning_rate(), kLearningRate, "1e-3");
  checker.Number("beta1", adam.beta1(), kMovingAverage, "0.9");
  checker.Number("beta2", adam.beta2(), kMovingAverage, "0.999");
  checker.Number("epsilon", adam.epsilon(), kEpsilon, "1e-8");
  checker.Number("weight_decay", adam.weight_decay(), kWeightDecay, "0.01");
}

void CheckSgd(const v1::Sgd& sgd, Checker checker) {
  checker.Number("learning_rate", sgd.learning_rate(), kLearningRate, "1e-2");
  const bool momentum = checker.Number("momentum", sgd.momentum(), kMovingAverage, "0.9");
  checker.Number("weight_decay", sgd.weight_decay(), kWeightDecay, "0.0001");
  if (momentum && sgd.nesterov() && sgd.momentum() == 0) {
    checker.Add("nesterov", ViolationReason::kConflict,
                "needs momentum; set momentum above 0, such as 0.9, or remove it");
  }
}

void CheckWarmup(std::int32_t warmup_steps, std::int64_t iterations, Checker& checker) {
  constexpr std::int32_t kMaxSteps = 1'000'000'000;
  if (!checker.Whole("warmup_steps", warmup_steps, 0, kMaxSteps, 50)) return;
  if (iterations > 0 && warmup_steps >= iterations) {
    checker.Add("warmup_steps", ViolationReason::kConflict,
                absl::StrCat("is ", warmup_steps, ", but the run has only ", iterations,
                             " iterations; lower it, or train longer"));
  }
}

template <typename Decay>
void CheckDecay(const Decay& schedule, std::int64_t iterations, Checker checker) {
  CheckWarmup(schedule.warmup_steps(), iterations, checker);
  checker.Number("final_ratio", schedule.final_ratio(), {.min = 0, .max = 1}, "0.1");
}

}  // namespace

void CheckOptimizer(const v1::OptimizerSpec& optimizer, Checker checker) {
  switch (optimizer.kind_case()) {
    case v1::OptimizerSpec::kAdamw:
      return CheckAdam(optimizer.adamw(), checker.Beneath("adamw"));
    case v1::OptimizerSpec::kAdam:
      return CheckAdam(optimizer.adam(), checker.Beneath("adam"));
    case v1::OptimizerSpec::kSgd:
      return CheckSgd(optimizer.sgd(), checker.Beneath("sgd"));
    case v1::OptimizerSpec::KIND_NOT_SET:
      return;  // never after the defaults
  }
}

void CheckSchedule(const v1::ScheduleSpec& schedule, std::int64_t iterations, Checker checker) {
  switch (schedule.kind_case()) {
    case v1::ScheduleSpec::kConstant: {
      Checker constant = checker.Beneath("constant");
      return CheckWarmup(schedule.constant().warmup_steps(), iterations, constant);
    }
    case v1::ScheduleSpec::kCosine:
      return CheckDecay(schedule.cosine(), iterations, checker.Beneath("cosine"));
    case v1::ScheduleSpec::kLinear:
      return CheckDecay(schedule.linear(), iterations, checker.Beneath("linear"));
    case v1::ScheduleSpec::KIND_NOT_SET:
      return;  // never after the defaults
  }
}

}  // namespace mantissa::spec
