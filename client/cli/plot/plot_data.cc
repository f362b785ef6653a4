#include "client/cli/plot/plot_data.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "client/cli/watch/record_rows.h"

namespace mantissa::cli {
namespace {

void Widen(Reach& reach, const std::optional<double>& value) {
  if (!value) return;
  if (std::isnan(*value)) {
    reach.nan = true;
  } else if (std::isinf(*value)) {
    reach.infinite = true;
  } else {
    reach.low = std::min(reach.low.value_or(*value), *value);
    reach.high = std::max(reach.high.value_or(*value), *value);
  }
}

Reach ReachOf(const std::optional<double>& value, const ValueEnds& ends) {
  Reach reach;
  Widen(reach, value);
  if (value && std::isfinite(*value)) reach.last = value;
  Widen(reach, ends.minimum);
  Widen(reach, ends.maximum);
  return reach;
}

PlotPoint PointOf(const IterationRow& row) {
  PlotPoint point;
  point.iteration = static_cast<double>(*row.iteration);
  point.loss = ReachOf(row.loss, row.loss_ends);
  point.loss_scale = ReachOf(row.loss_scale, row.loss_scale_ends);
  point.grad_norm = ReachOf(row.grad_norm, row.grad_norm_ends);
  point.records = row.records;
  point.skipped = row.skipped_records.value_or(row.applied.value_or(true) ? 0 : 1);
  return point;
}

}  // namespace

void PlotReader::Add(const v1::Segment& segment) {
  if (segment.has_gap()) return AddGap(segment);
  if (!segment.has_records()) return;
  for (const IterationRow& row : DecodeRows(segment)) {
    if (!row.iteration) continue;  // there is no place for it
    const std::int64_t lineage = std::max<std::int64_t>(1, row.lineage.value_or(1));
    PlotPoint point = PointOf(row);
    data_.records += point.records;
    data_.skipped += point.skipped;
    const bool follows = !hole_ && !data_.runs.empty() && data_.runs.back().attempt == segment.attempt() &&
                         data_.runs.back().lineage == lineage;
    if (!follows) data_.runs.push_back({.attempt = segment.attempt(), .lineage = lineage});
    hole_ = false;
    data_.runs.back().points.push_back(std::move(point));
  }
}

void PlotReader::AddGap(const v1::Segment& segment) {
  const v1::GapSummary& summary = segment.gap().summary();
  // The tail that a dead attempt never sent has no known length, and nothing of its attempt follows it.
  data_.gaps.push_back({.attempt = segment.attempt(),
                        .first_iteration = static_cast<double>(summary.first_iteration()),
                        .last_iteration = static_cast<double>(summary.last_iteration()),
                        .records = summary.records()});
  hole_ = true;
}

void PlotReader::AddEvent(const v1::JobEvent& event) {
  if (!event.has_evaluation()) return;
  data_.evaluations.push_back({.iteration = static_cast<double>(event.iteration()), .loss = event.evaluation().loss()});
}

PlotData PlotReader::Take() {
  double first = std::numeric_limits<double>::infinity();
  std::int32_t attempt = 0;
  std::int64_t lineage = 0;
  double first_of_later = first;
  for (auto run = data_.runs.rbegin(); run != data_.runs.rend(); ++run) {
    // Pieces of one attempt and lineage, between gaps, don't supersede each other.
    if (run->attempt != attempt || run->lineage != lineage) first_of_later = first;
    attempt = run->attempt;
    lineage = run->lineage;
    run->superseded_from = first_of_later;
    first = std::min(first, run->points.front().iteration);
  }
  return std::exchange(data_, {});
}

}  // namespace mantissa::cli
