#include "worker/amp/precision_monitor.h"

#include "absl/strings/str_cat.h"

namespace mantissa::trainer {
namespace {

std::string MessageFor(const IterationRecord& record, std::int64_t skipped_in_row) {
  switch (record.halt) {
    case Halt::kScaleAtFloor:
      return absl::StrCat("iteration ", record.iteration, ": overflow with the loss scale at its floor, ",
                          record.loss_scale,
                          ". Gradients overflow without any scaling left to take away: train in BF16, lower the "
                          "learning rate, or clip harder (max_grad_norm).");
    case Halt::kSkipsInRow:
      return absl::StrCat("iteration ", record.iteration, ": ", skipped_in_row,
                          " iterations in a row were skipped. The model or its data makes values that are not finite: "
                          "look at the first parameter of the last overflow, lower the learning rate, or resume from "
                          "an earlier checkpoint.");
    case Halt::kScaleTooSmall:
      return absl::StrCat("iteration ", record.iteration, ": the loss scale fell to ", record.next_loss_scale,
                          ", where gradients vanish in FP16: train in BF16, or lower the learning rate.");
    case Halt::kNone:
    case Halt::kReplay:
    case Halt::kRehearsal:
      break;
  }
  return "";
}

}  // namespace

PrecisionMonitor::PrecisionMonitor(const MonitorSettings& settings)
    : settings_(settings), statistics_(settings.statistics_window) {}

Phase PrecisionMonitor::Observe(const IterationRecord& record) {
  iterations_ += 1;
  statistics_.Observe(record);
  applied_in_row_ = record.applied ? applied_in_row_ + 1 : 0;
  skipped_in_row_ = record.applied ? 0 : skipped_in_row_ + 1;
  if (record.halt != Halt::kNone && record.halt != Halt::kReplay && !intervention_) {
    intervention_ = mantissa::trainer::Intervention{record.halt, MessageFor(record, skipped_in_row_)};
  }
  // While calibrating, a skip empties the window: what is left of calibration is its last, good stretch.
  if (!calibrated_ && !record.applied && iterations_ < settings_.window) {
    window_.clear();
    statistics_.EmptyWindow();
    skipped_in_window_ = 0;
    backoffs_in_window_ = 0;
  } else {
    Remember({!record.applied, record.next_loss_scale < record.loss_scale});
  }
  calibrated_ = calibrated_ || applied_in_row_ >= settings_.calibrated_after || iterations_ >= settings_.window;
  Decide();
  return phase_;
}

void PrecisionMonitor::Remember(const Outcome& outcome) {
  window_.push_back(outcome);
  skipped_in_window_ += outcome.skipped ? 1 : 0;
  backoffs_in_window_ += outcome.backed_off ? 1 : 0;
  if (window_.size() <= static_cast<std::size_t>(settings_.window)) return;
  skipped_in_window_ -= window_.front().skipped ? 1 : 0;
  backoffs_in_window_ -= window_.front().backed_off ? 1 : 0;
  window_.pop_front();
}

void PrecisionMonitor::Decide() {
  if (!calibrated_) return;
  // Shares of a full window, so that one skip among a few iterations does not weigh more than it should.
  if (skipped_in_window_ > settings_.unstable_above * settings_.window ||
      backoffs_in_window_ >= settings_.unstable_backoffs) {
    phase_ = Phase::kUnstable;
    return;
  }
  const std::int64_t seen = static_cast<std::int64_t>(window_.size());
  if (seen - skipped_in_window_ >= settings_.steady_after &&
      skipped_in_window_ < settings_.steady_below * static_cast<double>(seen)) {
    phase_ = Phase::kSteady;
  }
}

}  // namespace mantissa::trainer
