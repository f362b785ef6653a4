// What the iterations of one run said, for comparisons once it is over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace mantissa::trainer {

struct HistoryPoint {
  std::int64_t iteration = 0;  // from 1
  double loss = 0;
  double seconds = 0;
  bool applied = true;
  bool timed = true;  // nothing but the iteration is in its time
};

// A run of any length takes a bounded place: what is kept is every iteration, or, once there are too many, every
// second, every fourth, ... So runs of equal length keep the same iterations. Pure; not thread-safe.
class RunHistory {
 public:
  static constexpr std::size_t kMost = std::size_t{1} << 14;

  // In order, every iteration.
  void Add(const HistoryPoint& point);

  const std::vector<HistoryPoint>& points() const { return points_; }
  // Of the iterations that are kept.
  std::int64_t stride() const { return stride_; }

  // Losses of the last quarter of a run of `total` iterations, as far as it got.
  std::vector<double> LastQuarter(std::int64_t total) const;
  // Their mean; nothing where not one of these iterations was applied.
  std::optional<double> LastQuarterLoss(std::int64_t total) const;

  // Times of the iterations after the first `warm_up` ones.
  std::vector<double> SecondsAfter(std::int64_t warm_up) const;

 private:
  std::vector<HistoryPoint> points_;
  std::int64_t stride_ = 1;
};

}  // namespace mantissa::trainer
