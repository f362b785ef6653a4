#include "worker/studies/scaler_trace.h"

#include <algorithm>

#include "worker/amp/precision_monitor.h"

namespace mantissa::trainer {

void ScalerTrace::Observe(const IterationRecord& record) {
  if (iterations_++ == 0) {
    first_ = min_ = max_ = record.loss_scale;
    Remember(record.iteration, record.loss_scale);
  }
  last_ = record.next_loss_scale;
  min_ = std::min(min_, last_);
  max_ = std::max(max_, last_);
  if (record.next_loss_scale != record.loss_scale) Remember(record.iteration + 1, record.next_loss_scale);

  if (record.applied) {
    settled_ = settled_ || ++applied_in_row_ >= MonitorSettings().calibrated_after;
    return;
  }
  ++skipped_;
  applied_in_row_ = 0;
  if (!settled_) last_skip_ = record.iteration;
}

void ScalerTrace::Remember(std::int64_t iteration, double loss_scale) {
  if (seen_changes_++ % stride_ != 0) return;
  if (changes_.size() == kMostChanges) {
    // Every second one goes; what is left is what a stride of twice as much would have kept.
    for (std::size_t i = 0; 2 * i < changes_.size(); ++i) changes_[i] = changes_[2 * i];
    changes_.resize(kMostChanges / 2);
    stride_ *= 2;
    if ((seen_changes_ - 1) % stride_ != 0) return;
  }
  changes_.push_back({iteration, loss_scale});
}

std::optional<std::int64_t> ScalerTrace::calibration() const {
  return settled_ ? std::optional(last_skip_) : std::nullopt;
}

void ScalerTrace::Describe(v1::ScalerRow& row) const {
  row.set_iterations(static_cast<std::int32_t>(iterations_));
  row.set_skipped_iterations(static_cast<std::int32_t>(skipped_));
  if (iterations_ > 0) row.set_skipped_share(static_cast<double>(skipped_) / static_cast<double>(iterations_));
  if (const auto settled = calibration()) row.set_calibration_iterations(static_cast<std::int32_t>(*settled));
  row.set_first_scale(first_);
  row.set_min_scale(min_);
  row.set_max_scale(max_);
  row.set_last_scale(last_);
}

}  // namespace mantissa::trainer
