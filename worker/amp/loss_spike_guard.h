// Finds a loss that is finite, but stays far from its running median.
#pragma once

#include <cstdint>
#include <optional>

#include "mantissa/v1/training.pb.h"
#include "worker/amp/iteration_record.h"
#include "worker/amp/running_loss.h"

namespace mantissa::trainer {

// Iterations, both of which belong to it, and how far it jumped.
struct Spike {
  std::int64_t first = 0;
  std::int64_t last = 0;
  double loss = 0;
  double median = 0;
};

// Pure: no clock, no torch. Not thread-safe.
class LossSpikeGuard {
 public:
  // `spec` has its defaults resolved. A guard whose action is not ROLLBACK never finds anything.
  explicit LossSpikeGuard(const v1::LossSpikeGuard& spec);

  // Records in order. A spike when so many applied iterations in a row were above the limits; skipped ones between them
  // neither count nor end it. What is above does not move the median, however long it lasts, and a spike is found once.
  std::optional<Spike> Observe(const IterationRecord& record);

 private:
  const bool on_;
  const SpikeLimits limits_;
  const std::int32_t iterations_;
  RunningLoss running_;
  std::int64_t first_ = 0;  // of those in a row
  std::int32_t in_row_ = 0;
};

}  // namespace mantissa::trainer
