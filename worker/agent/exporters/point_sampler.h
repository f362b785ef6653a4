// Fewer points of a fast job.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "worker/agent/exporters/export_point.h"

namespace mantissa::agent {

// Records of one attempt on their way out: the first kAllOf all go; after them one for each interval of the records'
// own time, every first skipped one after one that was applied, and at the end the last. Evaluations all go. Never out
// of order. Not thread-safe.
class PointSampler {
 public:
  static constexpr int kAllOf = 1000;

  // 0: every record.
  explicit PointSampler(std::chrono::milliseconds interval) : interval_(interval) {}

  void Take(std::vector<ExportPoint> points, std::vector<ExportPoint>& chosen);
  // The last record, where it is still to go.
  void Finish(std::vector<ExportPoint>& chosen);

 private:
  const std::chrono::nanoseconds interval_;
  int seen_ = 0;
  bool skipping_ = false;
  std::int64_t next_time_ = 0;  // of the next record that goes for its time
  std::optional<ExportPoint> held_;
};

}  // namespace mantissa::agent
