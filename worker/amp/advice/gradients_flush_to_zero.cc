#include <algorithm>

#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {
namespace {

constexpr double kTooMany = 0.1;

}  // namespace

std::optional<Advice> GradientsFlushToZero(const AdviceFacts& facts) {
  if (facts.mode == v1::PrecisionSpec::FP32 || !facts.ranges || facts.ranges->modules.empty()) return std::nullopt;
  const auto worst = std::max_element(
      facts.ranges->modules.begin(), facts.ranges->modules.end(),
      [](const ModuleRange& a, const ModuleRange& b) { return a.gradient.flushed_ratio < b.gradient.flushed_ratio; });
  if (worst->gradient.flushed_ratio <= kTooMany) return std::nullopt;
  return Advice{
      "gradients_flush_to_zero",
      absl::StrFormat("%.0f %% of the gradients at %s are too small for %s and become zero: %s",
                      100 * worst->gradient.flushed_ratio, worst->module, v1::PrecisionSpec::Mode_Name(facts.mode),
                      facts.mode == v1::PrecisionSpec::FP16
                          ? "start with a larger loss scale (precision.loss_scale.init), let it grow sooner "
                            "(growth_interval), or train in BF16"
                          : "train in FP32, or look for a layer whose gradients vanish"),
      {{"flushed_ratio", worst->gradient.flushed_ratio},
       {"max_gradient", worst->gradient.max},
       {"loss_scale", facts.ranges->loss_scale}}};
}

}  // namespace mantissa::trainer
