#include "worker/studies/run/run_history.h"

#include "worker/studies/sample_statistics.h"

namespace mantissa::trainer {
namespace {

// The first iteration of the last quarter, rounded up to whole iterations: at least one.
std::int64_t LastQuarterOf(std::int64_t total) { return total - (total + 3) / 4 + 1; }

}  // namespace

void RunHistory::Add(const HistoryPoint& point) {
  if (point.iteration % stride_ != 0) return;
  if (points_.size() == kMost) {
    stride_ *= 2;
    std::erase_if(points_, [&](const HistoryPoint& kept) { return kept.iteration % stride_ != 0; });
    if (point.iteration % stride_ != 0) return;
  }
  points_.push_back(point);
}

std::vector<double> RunHistory::LastQuarter(std::int64_t total) const {
  std::vector<double> losses;
  for (const HistoryPoint& point : points_) {
    if (point.iteration >= LastQuarterOf(total)) losses.push_back(point.loss);
  }
  return losses;
}

std::optional<double> RunHistory::LastQuarterLoss(std::int64_t total) const {
  bool any_applied = false;
  for (const HistoryPoint& point : points_) {
    any_applied = any_applied || (point.applied && point.iteration >= LastQuarterOf(total));
  }
  if (!any_applied) return std::nullopt;
  return Mean(LastQuarter(total));
}

std::vector<double> RunHistory::SecondsAfter(std::int64_t warm_up) const {
  std::vector<double> seconds;
  for (const HistoryPoint& point : points_) {
    if (point.iteration > warm_up && point.timed && point.seconds > 0) seconds.push_back(point.seconds);
  }
  return seconds;
}

}  // namespace mantissa::trainer
