#include "worker/trainer/report/precision_message.h"

namespace mantissa::trainer {

v1::PrecisionStats PrecisionMessage(const PrecisionStats& stats, bool scaled) {
  v1::PrecisionStats message;
  message.set_iterations(static_cast<std::int32_t>(stats.iterations));
  message.set_applied(static_cast<std::int32_t>(stats.applied));
  message.set_skipped(static_cast<std::int32_t>(stats.skipped));
  message.set_window(stats.window);
  message.set_skipped_ratio(stats.skipped_ratio);
  if (stats.loss) message.set_loss(*stats.loss);
  if (scaled) {
    message.set_loss_scale(stats.loss_scale);
    message.set_min_loss_scale(stats.min_loss_scale);
    message.set_max_loss_scale(stats.max_loss_scale);
    message.set_backoffs(stats.backoffs);
    message.set_growths(stats.growths);
  }
  if (stats.stability_score) message.set_stability_score(*stats.stability_score);
  message.set_verdict(static_cast<v1::PrecisionStats::Verdict>(stats.verdict));
  return message;
}

}  // namespace mantissa::trainer
