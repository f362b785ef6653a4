// Histories to draw, built by hand.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

struct PlotRecord {
  int iteration = 0;
  std::optional<double> loss = 1;
  std::optional<double> scale = 65536;
  std::optional<double> grad_norm = 1;
  bool applied = true;
};

// A column of doubles, absent where a value is.
inline void AddDoubles(v1::Segment& segment, v1::Column::Standard standard, v1::Column::Statistic statistic,
                       const std::vector<std::optional<double>>& values) {
  v1::Column& column = *segment.mutable_records()->add_columns();
  column.set_standard(standard);
  column.set_statistic(statistic);
  column.mutable_present()->resize((values.size() + 7) / 8);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!values[i]) continue;
    column.mutable_doubles()->add_values(*values[i]);
    (*column.mutable_present())[i / 8] = static_cast<char>((*column.mutable_present())[i / 8] | (1 << (i % 8)));
  }
}

inline void AddIntegers(v1::Segment& segment, v1::Column::Standard standard, const std::vector<std::int64_t>& values) {
  v1::Column& column = *segment.mutable_records()->add_columns();
  column.set_standard(standard);
  for (const std::int64_t value : values) column.mutable_integers()->add_values(value);
}

inline v1::Segment PlotSegment(const std::vector<PlotRecord>& records, int attempt = 1, int lineage = 1) {
  v1::Segment segment;
  segment.set_attempt(attempt);
  segment.set_count(static_cast<int>(records.size()));
  std::vector<std::int64_t> iterations, lineages(records.size(), lineage);
  std::vector<std::optional<double>> losses, scales, norms;
  v1::Column& applied = *segment.mutable_records()->add_columns();
  applied.set_standard(v1::Column::APPLIED);
  for (const PlotRecord& record : records) {
    iterations.push_back(record.iteration);
    losses.push_back(record.loss);
    scales.push_back(record.scale);
    norms.push_back(record.applied ? record.grad_norm : std::nullopt);
    applied.mutable_bools()->add_values(record.applied);
  }
  AddIntegers(segment, v1::Column::ITERATION, iterations);
  AddIntegers(segment, v1::Column::LINEAGE, lineages);
  AddDoubles(segment, v1::Column::LOSS, v1::Column::STATISTIC_UNSPECIFIED, losses);
  AddDoubles(segment, v1::Column::LOSS_SCALE, v1::Column::STATISTIC_UNSPECIFIED, scales);
  AddDoubles(segment, v1::Column::GRAD_NORM, v1::Column::STATISTIC_UNSPECIFIED, norms);
  return segment;
}

inline v1::Segment PlotGapSegment(int attempt, int records, int first_iteration, int last_iteration) {
  v1::Segment segment;
  segment.set_attempt(attempt);
  segment.set_count(1);
  v1::GapSummary& summary = *segment.mutable_gap()->mutable_summary();
  summary.set_records(records);
  summary.set_first_iteration(first_iteration);
  summary.set_last_iteration(last_iteration);
  return segment;
}

inline v1::JobEvent PlotEvaluated(int iteration, double loss) {
  v1::JobEvent event;
  event.set_iteration(iteration);
  event.mutable_evaluation()->set_loss(loss);
  return event;
}

// Forty iterations that learn: two skips at the beginning, each of which halves the scale.
inline std::vector<PlotRecord> LearningRecords() {
  std::vector<PlotRecord> records;
  for (int i = 1; i <= 40; ++i) {
    const double scale = i <= 2 ? 65536 : i <= 5 ? 32768 : 16384;
    records.push_back({.iteration = i,
                       .loss = 2.4 * std::exp(-0.12 * i) + 0.02,
                       .scale = scale,
                       .grad_norm = 1 + 0.5 * std::sin(0.5 * i),
                       .applied = i != 2 && i != 5});
  }
  return records;
}

}  // namespace mantissa::cli
