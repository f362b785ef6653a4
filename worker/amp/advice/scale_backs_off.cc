#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {

std::optional<Advice> ScaleBacksOff(const AdviceFacts& facts) {
  if (facts.mode != v1::PrecisionSpec::FP16 || !facts.stats.stability_score) return std::nullopt;
  if (*facts.stats.stability_score >= 1 - PrecisionStatistics::kUnstableBackoffs) return std::nullopt;
  return Advice{"scale_backs_off",
                absl::StrFormat("the loss scale backed off %d times in %d iterations: lengthen the growth interval, "
                                "lower the learning rate, or clip harder (max_grad_norm)",
                                facts.stats.backoffs, facts.stats.window),
                {{"backoffs", static_cast<double>(facts.stats.backoffs)},
                 {"window", static_cast<double>(facts.stats.window)},
                 {"min_loss_scale", facts.stats.min_loss_scale},
                 {"max_loss_scale", facts.stats.max_loss_scale}}};
}

}  // namespace mantissa::trainer
