#include "client/cli/watch/record_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "proto/spec/column_values.h"

namespace mantissa::cli {
namespace {

using spec::IsPresent;
using spec::NumberAt;
using spec::ValueCount;

std::int64_t Integer(const v1::Column& column, int index) {
  if (column.values_case() == v1::Column::kIntegers) return column.integers().values(index);
  const double number = NumberAt(column, index);
  if (!(std::abs(number) < 9e18)) return 0;
  return static_cast<std::int64_t>(number);
}

void Put(const v1::Column& column, int index, IterationRow& row) {
  switch (column.standard()) {
    case v1::Column::ITERATION:
      row.iteration = Integer(column, index);
      break;
    case v1::Column::STEP:
      row.step = Integer(column, index);
      break;
    case v1::Column::TIME_UNIX_NANOS:
      row.time_unix_nanos = Integer(column, index);
      break;
    case v1::Column::LOSS:
      row.loss = NumberAt(column, index);
      break;
    case v1::Column::LOSS_SCALE:
      row.loss_scale = NumberAt(column, index);
      break;
    case v1::Column::APPLIED:
      row.applied = NumberAt(column, index) != 0;
      break;
    case v1::Column::GRAD_NORM:
      row.grad_norm = NumberAt(column, index);
      break;
    case v1::Column::LEARNING_RATE:
      row.learning_rate = NumberAt(column, index);
      break;
    case v1::Column::SAMPLES_PER_SECOND:
      row.samples_per_second = NumberAt(column, index);
      break;
    case v1::Column::PHASE:
      row.phase = Integer(column, index);
      break;
    case v1::Column::GROWTH_TRACKER:
      row.growth_tracker = Integer(column, index);
      break;
    case v1::Column::LINEAGE:
      row.lineage = Integer(column, index);
      break;
    case v1::Column::RECORDS:
      row.records = std::max<std::int64_t>(1, Integer(column, index));
      break;
    case v1::Column::SKIPPED_RECORDS:
      row.skipped_records = Integer(column, index);
      break;
    default:
      break;
  }
}

// The end of a thinned row that a column of a statistic holds; null for one that is not kept.
std::optional<double>* EndOf(const v1::Column& column, IterationRow& row) {
  ValueEnds* const ends = column.standard() == v1::Column::LOSS         ? &row.loss_ends
                          : column.standard() == v1::Column::LOSS_SCALE ? &row.loss_scale_ends
                          : column.standard() == v1::Column::GRAD_NORM  ? &row.grad_norm_ends
                                                                        : nullptr;
  if (ends == nullptr) return nullptr;
  if (column.statistic() == v1::Column::MINIMUM) return &ends->minimum;
  return column.statistic() == v1::Column::MAXIMUM ? &ends->maximum : nullptr;
}

}  // namespace

std::vector<IterationRow> DecodeRows(const v1::Segment& segment) {
  std::size_t bound = 0;
  for (const v1::Column& column : segment.records().columns()) {
    bound = std::max({bound, static_cast<std::size_t>(ValueCount(column)), column.present().size() * 8});
  }
  std::vector<IterationRow> rows(std::min(bound, static_cast<std::size_t>(std::max(0, segment.count()))));
  for (const v1::Column& column : segment.records().columns()) {
    if (column.id_case() != v1::Column::kStandard) continue;
    // In rows that are not thinned it means nothing.
    if (column.standard() == v1::Column::RECORDS && segment.through_sequence() == 0) continue;
    const int values = ValueCount(column);
    int next = 0;
    for (std::size_t row = 0; row < rows.size() && next < values; ++row) {
      if (!IsPresent(column, static_cast<std::int32_t>(row))) continue;
      if (column.statistic() == v1::Column::STATISTIC_UNSPECIFIED) {
        Put(column, next++, rows[row]);
      } else if (std::optional<double>* const end = EndOf(column, rows[row])) {
        *end = NumberAt(column, next++);
      }
    }
  }
  return rows;
}

}  // namespace mantissa::cli
