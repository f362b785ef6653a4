#include "worker/trainer/report/record_columns.h"

#include <algorithm>
#include <cmath>

namespace mantissa::trainer {
namespace {

using Columns = v1::RecordColumns;
using Column = v1::Column;

void AddColumn(Columns& columns, Column::Standard id, const std::vector<std::int64_t>& values) {
  Column& column = *columns.add_columns();
  column.set_standard(id);
  column.mutable_integers()->mutable_values()->Add(values.begin(), values.end());
}

void AddColumn(Columns& columns, Column::Standard id, const std::vector<double>& values) {
  Column& column = *columns.add_columns();
  column.set_standard(id);
  column.mutable_doubles()->mutable_values()->Add(values.begin(), values.end());
}

// A column without any value is left out.
template <typename T>
void AddColumn(Columns& columns, Column::Standard id, const OptionalColumn<T>& values) {
  if (values.empty()) return;
  AddColumn(columns, id, values.values());
  if (!values.full()) columns.mutable_columns()->rbegin()->set_present(values.present());
}

template <typename... Vectors>
void ClearAll(Vectors&... vectors) {
  (vectors.clear(), ...);
}

}  // namespace

void RecordColumns::Add(const IterationRecord& record) {
  iteration_.push_back(record.iteration);
  step_.push_back(record.step);
  lineage_.push_back(record.lineage);
  time_.push_back(record.time_unix_nanos);
  loss_.push_back(record.loss);
  applied_.push_back(record.applied ? 1 : 0);
  cause_.Add(record.applied ? std::nullopt : std::optional(static_cast<std::int64_t>(record.cause)));
  grad_norm_.Add(record.grad_norm);
  learning_rate_.push_back(record.learning_rate);
  seconds_.push_back(record.seconds);
  samples_per_second_.push_back(record.samples_per_second);
  phase_.push_back(static_cast<std::int64_t>(record.phase));
  memory_.Add(record.memory_bytes > 0 ? std::optional(record.memory_bytes) : std::nullopt);
  peak_memory_.Add(record.peak_memory_bytes > 0 ? std::optional(record.peak_memory_bytes) : std::nullopt);
  if (!scaled_) return;
  loss_scale_.push_back(record.loss_scale);
  growth_.push_back(record.growth_tracker);
  hysteresis_.push_back(record.hysteresis_tracker);
}

v1::RecordColumns RecordColumns::Take() {
  Columns columns;
  AddColumn(columns, Column::ITERATION, iteration_);
  AddColumn(columns, Column::STEP, step_);
  AddColumn(columns, Column::LINEAGE, lineage_);
  AddColumn(columns, Column::TIME_UNIX_NANOS, time_);
  AddColumn(columns, Column::LOSS, loss_);
  Column& applied = *columns.add_columns();
  applied.set_standard(Column::APPLIED);
  applied.mutable_bools()->mutable_values()->Add(applied_.begin(), applied_.end());
  AddColumn(columns, Column::SKIP_CAUSE, cause_);
  AddColumn(columns, Column::GRAD_NORM, grad_norm_);
  AddColumn(columns, Column::LEARNING_RATE, learning_rate_);
  AddColumn(columns, Column::ITERATION_SECONDS, seconds_);
  AddColumn(columns, Column::SAMPLES_PER_SECOND, samples_per_second_);
  AddColumn(columns, Column::PHASE, phase_);
  AddColumn(columns, Column::MEMORY_BYTES, memory_);
  AddColumn(columns, Column::PEAK_MEMORY_BYTES, peak_memory_);
  if (scaled_) {
    AddColumn(columns, Column::LOSS_SCALE, loss_scale_);
    AddColumn(columns, Column::GROWTH_TRACKER, growth_);
    AddColumn(columns, Column::HYSTERESIS_TRACKER, hysteresis_);
  }
  Clear();
  return columns;
}

v1::GapSummary RecordColumns::Summary() const {
  v1::GapSummary summary;
  if (iteration_.empty()) return summary;
  summary.set_records(rows());
  summary.set_first_iteration(static_cast<std::int32_t>(iteration_.front()));
  summary.set_last_iteration(static_cast<std::int32_t>(iteration_.back()));
  summary.set_skipped_iterations(static_cast<std::int32_t>(std::count(applied_.begin(), applied_.end(), 0)));
  summary.set_last_loss(loss_.back());
  for (const double loss : loss_) {
    if (std::isnan(loss)) continue;
    if (!summary.has_min_loss() || loss < summary.min_loss()) summary.set_min_loss(loss);
    if (!summary.has_max_loss() || loss > summary.max_loss()) summary.set_max_loss(loss);
  }
  return summary;
}

void RecordColumns::Clear() {
  ClearAll(iteration_, step_, lineage_, time_, phase_, growth_, hysteresis_);
  ClearAll(loss_, loss_scale_, learning_rate_, seconds_, samples_per_second_, applied_);
  cause_.Clear();
  memory_.Clear();
  peak_memory_.Clear();
  grad_norm_.Clear();
}

}  // namespace mantissa::trainer
