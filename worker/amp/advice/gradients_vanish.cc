#include <algorithm>
#include <cstddef>

#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {

// In FP32 a tanh is flat from 9.02 on; what is zero there is zero in every format.
std::optional<Advice> GradientsVanish(const AdviceFacts& facts) {
  if (!facts.ranges) return std::nullopt;
  const auto& modules = facts.ranges->modules;
  const auto has_gradient = [](const ModuleRange& range) { return range.gradient.max > 0; };
  const auto first_with = std::find_if(modules.begin(), modules.end(), has_gradient);
  if (first_with == modules.begin() || first_with == modules.end()) return std::nullopt;
  const auto without = static_cast<std::size_t>(first_with - modules.begin());
  const double ratio = static_cast<double>(without) / static_cast<double>(modules.size());
  return Advice{"gradients_vanish",
                absl::StrFormat(
                    "gradients flush to zero before %s: none reaches %d of %d modules (%.0f %%), in FP32 no "
                    "more than in %s, so they do not learn; an activation there is saturated or dead: scale "
                    "its input down, add a norm before it, or start from smaller weights",
                    first_with->module, without, modules.size(), 100 * ratio, v1::PrecisionSpec::Mode_Name(facts.mode)),
                {{"modules_without_gradient_ratio", ratio}, {"modules", static_cast<double>(modules.size())}}};
}

}  // namespace mantissa::trainer
