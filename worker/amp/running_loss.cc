#include "worker/amp/running_loss.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace mantissa::trainer {

void RunningLoss::Remember(double loss) {
  if (!std::isfinite(loss)) return;
  if (losses_.size() == kWindow) {
    sorted_.erase(std::lower_bound(sorted_.begin(), sorted_.end(), losses_.front()));
    losses_.pop_front();
  }
  losses_.push_back(loss);
  sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), loss), loss);
}

std::optional<double> RunningLoss::median() const {
  if (losses_.size() < kWindow) return std::nullopt;
  return sorted_[sorted_.size() / 2];
}

double RunningLoss::Deviation() const {
  const std::optional<double> middle = median();
  if (!middle) return 0;
  std::vector<double> distances;
  for (const double loss : losses_) distances.push_back(std::fabs(loss - *middle));
  const auto half = distances.begin() + static_cast<std::ptrdiff_t>(distances.size() / 2);
  std::nth_element(distances.begin(), half, distances.end());
  return *half;
}

bool IsSpike(double loss, const std::optional<double>& median, double deviation, const SpikeLimits& limits) {
  if (!median || !std::isfinite(loss)) return false;
  return loss > limits.times_median * *median && loss > *median + limits.deviations * deviation;
}

}  // namespace mantissa::trainer
