// Asks the rules, and says what they say once per quiet period.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <vector>

#include "worker/amp/advice/advice.h"
#include "worker/amp/precision_monitor.h"
#include "worker/amp/running_loss.h"

namespace mantissa::trainer {

struct AdviserSettings {
  v1::PrecisionSpec::Mode mode = v1::PrecisionSpec::FP32;
  bool has_bf16 = true;
  ScalerSettings scaler = {};
  std::int32_t every = 100;              // iterations between two rounds; a skip or a jump of the loss is one, too
  std::int32_t quiet_iterations = 1000;  // in which a rule that has spoken stays silent
};

// Pure: no clock, no torch. Not thread-safe.
class Adviser {
 public:
  static constexpr std::size_t kRules = 9;

  explicit Adviser(const AdviserSettings& settings) : settings_(settings) { spoke_.fill(kNever); }

  // Records in order, each after `monitor` has seen it.
  std::vector<Advice> Observe(const IterationRecord& record, const PrecisionMonitor& monitor);
  // A new sample, of the run as it is after the last record.
  std::vector<Advice> Observe(const ModuleRanges& ranges, const PrecisionMonitor& monitor);

 private:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::min() / 2;

  void RememberClipping(const IterationRecord& record);
  AdviceFacts Facts(const PrecisionMonitor& monitor) const;
  std::vector<Advice> Ask(const AdviceFacts& facts);

  const AdviserSettings settings_;
  IterationRecord newest_;
  bool scale_has_grown_ = false;
  std::deque<bool> clipped_;
  std::int32_t clipped_count_ = 0;
  RunningLoss running_loss_;                // of applied iterations
  std::optional<double> median_loss_;       // of those before the newest iteration
  double loss_deviation_ = 0;               // likewise
  std::array<std::int64_t, kRules> spoke_;  // iteration
};

}  // namespace mantissa::trainer
