#include "worker/amp/loss_spike_guard.h"

#include <cmath>

namespace mantissa::trainer {

LossSpikeGuard::LossSpikeGuard(const v1::LossSpikeGuard& spec)
    : on_(spec.action() == v1::LossSpikeGuard::ROLLBACK),
      limits_{.times_median = spec.factor()},
      iterations_(spec.iterations()) {}

std::optional<Spike> LossSpikeGuard::Observe(const IterationRecord& record) {
  if (!on_ || !record.applied || !std::isfinite(record.loss)) return std::nullopt;
  if (!IsSpike(record.loss, running_.median(), running_.Deviation(), limits_)) {
    running_.Remember(record.loss);
    in_row_ = 0;
    return std::nullopt;
  }
  if (in_row_ == 0) first_ = record.iteration;
  in_row_ += 1;
  if (in_row_ != iterations_) return std::nullopt;
  return Spike{first_, record.iteration, record.loss, *running_.median()};
}

}  // namespace mantissa::trainer
