#include "worker/amp/running_loss.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

namespace mantissa::trainer {
namespace {

double MedianOf(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

void RunningLoss::Remember(double loss) {
  if (!std::isfinite(loss)) return;
  losses_.push_back(loss);
  if (losses_.size() > kWindow) losses_.pop_front();
  if (losses_.size() == kWindow) median_ = MedianOf({losses_.begin(), losses_.end()});
}

double RunningLoss::Deviation() const {
  if (!median_) return 0;
  std::vector<double> distances;
  for (const double loss : losses_) distances.push_back(std::fabs(loss - *median_));
  return MedianOf(std::move(distances));
}

bool IsSpike(double loss, const std::optional<double>& median, double deviation, const SpikeLimits& limits) {
  if (!median || !std::isfinite(loss)) return false;
  return loss > limits.times_median * *median && loss > *median + limits.deviations * deviation;
}

}  // namespace mantissa::trainer
