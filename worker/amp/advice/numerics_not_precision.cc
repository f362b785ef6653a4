#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {

std::optional<Advice> NumericsNotPrecision(const AdviceFacts& facts) {
  if (facts.record.applied) return std::nullopt;
  const bool scaled = facts.mode == v1::PrecisionSpec::FP16;
  if (scaled && facts.record.cause != SkipCause::kNanForward) return std::nullopt;
  return Advice{"numerics_not_precision",
                absl::StrFormat("iteration %d was skipped in %s, where %s: look at the place that the skip names, at "
                                "its data, and at the learning rate",
                                facts.record.iteration, v1::PrecisionSpec::Mode_Name(facts.mode),
                                scaled ? "a loss that is not finite is no matter of the loss scale"
                                       : "the range of numbers is that of FP32 and no loss scale is to blame"),
                {{"iteration", static_cast<double>(facts.record.iteration)},
                 {"loss", facts.record.loss},
                 {"skipped", static_cast<double>(facts.stats.skipped)}}};
}

}  // namespace mantissa::trainer
