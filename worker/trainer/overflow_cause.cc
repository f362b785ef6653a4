#include "worker/trainer/overflow_cause.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"

namespace mantissa::trainer {

SkipCause CauseOf(SkipCause counted, const std::vector<Offender>& offenders, const std::vector<Parameter>& parameters) {
  if (counted != SkipCause::kNanBackward || offenders.empty()) return counted;
  std::string_view module = parameters[offenders.front().parameter].shape.path;
  constexpr std::string_view kWeight = ".weight";
  if (!module.ends_with(kWeight)) return counted;
  module.remove_suffix(kWeight.size());
  const std::string path = absl::StrCat(std::string(module), ".bias");
  const auto bias = std::find_if(parameters.begin(), parameters.end(),
                                 [&](const Parameter& parameter) { return parameter.shape.path == path; });
  if (bias == parameters.end()) return counted;
  const auto index = static_cast<std::size_t>(bias - parameters.begin());
  const bool bias_offends = std::any_of(offenders.begin(), offenders.end(),
                                        [&](const Offender& offender) { return offender.parameter == index; });
  return bias_offends ? counted : SkipCause::kOverflow;
}

}  // namespace mantissa::trainer
