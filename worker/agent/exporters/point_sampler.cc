#include "worker/agent/exporters/point_sampler.h"

#include <utility>

namespace mantissa::agent {

void PointSampler::Take(std::vector<ExportPoint> points, std::vector<ExportPoint>& chosen) {
  for (ExportPoint& point : points) {
    if (point.evaluation) {
      chosen.push_back(std::move(point));
      continue;
    }
    const bool begins_to_skip = point.skipped && !skipping_;
    skipping_ = point.skipped;
    const bool early = interval_.count() == 0 || seen_ < kAllOf;
    if (early) ++seen_;
    if (early || begins_to_skip || point.time_unix_nanos >= next_time_) {
      next_time_ = point.time_unix_nanos + interval_.count();
      held_.reset();
      chosen.push_back(std::move(point));
    } else {
      held_ = std::move(point);
    }
  }
}

void PointSampler::Finish(std::vector<ExportPoint>& chosen) {
  if (held_) chosen.push_back(*std::exchange(held_, std::nullopt));
}

}  // namespace mantissa::agent
