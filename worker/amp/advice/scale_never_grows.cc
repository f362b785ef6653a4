#include <vector>

#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {

std::optional<Advice> ScaleNeverGrows(const AdviceFacts& facts) {
  if (facts.mode != v1::PrecisionSpec::FP16) return std::nullopt;
  const double scale = facts.stats.loss_scale;
  const std::vector<Evidence> evidence = {{"loss_scale", scale},
                                          {"applied", static_cast<double>(facts.stats.applied)},
                                          {"growth_interval", static_cast<double>(facts.scaler.growth_interval)}};
  const bool full = facts.stats.stability_score.has_value();
  if (full && facts.stats.growths == 0 && facts.scaler.min > 0 && facts.stats.max_loss_scale <= facts.scaler.min) {
    return Advice{"scale_never_grows",
                  absl::StrFormat("the loss scale has been at its floor, %g, for %d iterations: gradients overflow "
                                  "without any scaling to take away; train in BF16, or lower the learning rate",
                                  scale, facts.stats.window),
                  evidence};
  }
  // At its ceiling it has nowhere to go.
  if (facts.scaler.max > 0 && scale >= facts.scaler.max) return std::nullopt;
  const bool had_time = facts.stats.applied >= 3 * static_cast<std::int64_t>(facts.scaler.growth_interval);
  if (!had_time || facts.scale_has_grown) return std::nullopt;
  return Advice{"scale_never_grows",
                absl::StrFormat("the loss scale has not grown in %d applied iterations, and is %g: overflows come "
                                "before a whole growth interval of %d is over; shorten growth_interval, or train in "
                                "BF16",
                                facts.stats.applied, scale, facts.scaler.growth_interval),
                evidence};
}

}  // namespace mantissa::trainer
