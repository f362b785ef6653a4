#include "worker/amp/precision_statistics.h"

#include <algorithm>

namespace mantissa::trainer {

void PrecisionStatistics::Observe(const IterationRecord& record) {
  iterations_ += 1;
  applied_ += record.applied ? 1 : 0;
  loss_scale_ = record.next_loss_scale;
  outcomes_.push_back(
      {record.loss, static_cast<float>(record.loss_scale), static_cast<float>(record.next_loss_scale), record.applied});
  if (outcomes_.size() > static_cast<std::size_t>(window_)) outcomes_.pop_front();
}

PrecisionStats PrecisionStatistics::stats() const {
  PrecisionStats stats;
  stats.iterations = iterations_;
  stats.applied = applied_;
  stats.skipped = iterations_ - applied_;
  stats.window = static_cast<std::int32_t>(outcomes_.size());
  stats.loss_scale = stats.min_loss_scale = stats.max_loss_scale = loss_scale_;
  double loss_sum = 0;
  std::int32_t applied = 0;
  for (const Outcome& outcome : outcomes_) {
    stats.min_loss_scale = std::min<double>(stats.min_loss_scale, outcome.loss_scale);
    stats.max_loss_scale = std::max<double>(stats.max_loss_scale, outcome.loss_scale);
    stats.backoffs += outcome.next_loss_scale < outcome.loss_scale ? 1 : 0;
    stats.growths += outcome.next_loss_scale > outcome.loss_scale ? 1 : 0;
    if (!outcome.applied) continue;
    loss_sum += outcome.loss;
    ++applied;
  }
  if (outcomes_.empty()) return stats;
  if (applied > 0) stats.loss = loss_sum / applied;
  stats.skipped_ratio = (stats.window - applied) / static_cast<double>(stats.window);
  if (stats.window < window_) return stats;
  const double backed_off = stats.backoffs / static_cast<double>(window_);
  stats.stability_score = 1 - backed_off;
  stats.verdict = backed_off > kUnstableBackoffs || stats.skipped_ratio > kUnstableSkips
                      ? PrecisionStats::Verdict::kUnstable
                      : PrecisionStats::Verdict::kStable;
  return stats;
}

}  // namespace mantissa::trainer
