#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {
namespace {

constexpr double kNearlyAll = 0.95;

}  // namespace

std::optional<Advice> EveryStepIsClipped(const AdviceFacts& facts) {
  if (!facts.clipped_ratio || *facts.clipped_ratio < kNearlyAll) return std::nullopt;
  return Advice{"every_step_is_clipped",
                absl::StrFormat("%.0f %% of the newest updates were clipped to max_grad_norm %g, so the limit sets the "
                                "size of every step: raise max_grad_norm, or lower the learning rate",
                                100 * *facts.clipped_ratio, facts.scaler.max_grad_norm),
                {{"clipped_ratio", *facts.clipped_ratio},
                 {"max_grad_norm", facts.scaler.max_grad_norm},
                 {"grad_norm", facts.record.grad_norm.value_or(0)}}};
}

}  // namespace mantissa::trainer
