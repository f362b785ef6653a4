// How precision has fared over the newest iterations of a run, in numbers.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>

#include "worker/amp/iteration_record.h"

namespace mantissa::trainer {

// See v1::PrecisionStats.
struct PrecisionStats {
  enum class Verdict : std::int32_t { kInsufficientData = 1, kStable = 2, kUnstable = 3 };  // the numbers of the API

  std::int64_t iterations = 0;
  std::int64_t applied = 0;
  std::int64_t skipped = 0;
  // All that follows is of the window.
  std::int32_t window = 0;  // iterations in it
  double skipped_ratio = 0;
  std::optional<double> loss;  // mean over the applied ones
  double loss_scale = 1;       // of the next iteration
  double min_loss_scale = 1;
  double max_loss_scale = 1;
  std::int32_t backoffs = 0;
  std::int32_t growths = 0;
  std::optional<double> stability_score;  // 1 - backoffs / window; absent before a full window
  Verdict verdict = Verdict::kInsufficientData;
};

// Pure. Not thread-safe.
class PrecisionStatistics {
 public:
  // UNSTABLE: more than these shares of a full window.
  static constexpr double kUnstableBackoffs = 0.02;
  static constexpr double kUnstableSkips = 0.05;

  // `window`: iterations, at least 1.
  explicit PrecisionStatistics(std::int32_t window) : window_(window) {}

  void Observe(const IterationRecord& record);
  // What was seen so far was the search for a scale: it stays in the totals and leaves the window.
  void EmptyWindow() { outcomes_.clear(); }

  // Takes a nanosecond for each iteration of the window.
  PrecisionStats stats() const;

 private:
  struct Outcome {
    double loss = 0;
    float loss_scale = 1;
    float next_loss_scale = 1;
    bool applied = true;
  };

  const std::int32_t window_;
  std::deque<Outcome> outcomes_;
  std::int64_t iterations_ = 0;
  std::int64_t applied_ = 0;
  double loss_scale_ = 1;
};

}  // namespace mantissa::trainer
