#include <cmath>

#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"

namespace mantissa::trainer {
namespace {

// Both: a loss that hardly moves has a tiny deviation, and one that is noisy doubles now and then.
constexpr double kTimesMedian = 2;
constexpr double kDeviations = 10;

}  // namespace

std::optional<Advice> LossSpike(const AdviceFacts& facts) {
  const double loss = facts.record.loss;
  if (!facts.record.applied || !std::isfinite(loss) || !facts.median_loss) return std::nullopt;
  const double median = *facts.median_loss;
  if (loss <= kTimesMedian * median || loss <= median + kDeviations * facts.loss_deviation) return std::nullopt;
  return Advice{"loss_spike",
                absl::StrFormat("the loss jumped to %.4g from a running median of %.4g at iteration %d, and is finite: "
                                "if it does not come back, lower the learning rate, warm up longer, or look at the "
                                "data of that window",
                                loss, median, facts.record.iteration),
                {{"loss", loss}, {"median_loss", median}, {"loss_deviation", facts.loss_deviation}}};
}

}  // namespace mantissa::trainer
