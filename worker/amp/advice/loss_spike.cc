#include "absl/strings/str_format.h"

#include "worker/amp/advice/advice.h"
#include "worker/amp/running_loss.h"

namespace mantissa::trainer {

std::optional<Advice> LossSpike(const AdviceFacts& facts) {
  const double loss = facts.record.loss;
  if (!facts.record.applied || !IsSpike(loss, facts.median_loss, facts.loss_deviation, SpikeLimits())) {
    return std::nullopt;
  }
  const double median = *facts.median_loss;
  return Advice{"loss_spike",
                absl::StrFormat("the loss jumped to %.4g from a running median of %.4g at iteration %d, and is finite: "
                                "if it does not come back, lower the learning rate, warm up longer, or look at the "
                                "data of that window",
                                loss, median, facts.record.iteration),
                {{"loss", loss}, {"median_loss", median}, {"loss_deviation", facts.loss_deviation}}};
}

}  // namespace mantissa::trainer
