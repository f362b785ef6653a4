#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {

std::optional<Advice> ConsiderBf16(const AdviceFacts& facts) {
  if (facts.mode != v1::PrecisionSpec::FP16 || !facts.has_bf16) return std::nullopt;
  if (facts.stats.verdict != PrecisionStats::Verdict::kUnstable) return std::nullopt;
  return Advice{"consider_bf16",
                absl::StrFormat("FP16 is unstable here (%.1f %% of %d iterations skipped, %d backoffs), and this "
                                "device has BF16, whose range needs no loss scale: set precision.mode to BF16",
                                100 * facts.stats.skipped_ratio, facts.stats.window, facts.stats.backoffs),
                {{"skipped_ratio", facts.stats.skipped_ratio},
                 {"backoffs", static_cast<double>(facts.stats.backoffs)},
                 {"window", static_cast<double>(facts.stats.window)}}};
}

}  // namespace mantissa::trainer
