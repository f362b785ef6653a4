#include <algorithm>

#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {

// Gradients near the maximum are what a growing loss scale looks for, and no news.
std::optional<Advice> ValuesNearMaximum(const AdviceFacts& facts) {
  if (facts.mode == v1::PrecisionSpec::FP32 || !facts.ranges || facts.ranges->modules.empty()) return std::nullopt;
  const auto worst =
      std::max_element(facts.ranges->modules.begin(), facts.ranges->modules.end(),
                       [](const ModuleRange& a, const ModuleRange& b) { return a.activation.max < b.activation.max; });
  if (worst->activation.near_max_ratio == 0) return std::nullopt;
  return Advice{"values_near_maximum",
                absl::StrFormat("outputs of %s reach %.3g, within 2x of the largest number of %s: a lower loss scale "
                                "does not help when they overflow; %slower the learning rate, or add a norm before it",
                                worst->module, worst->activation.max, v1::PrecisionSpec::Mode_Name(facts.mode),
                                facts.mode == v1::PrecisionSpec::FP16 ? "train in BF16, " : ""),
                {{"max_activation", worst->activation.max}, {"near_max_ratio", worst->activation.near_max_ratio}}};
}

}  // namespace mantissa::trainer
