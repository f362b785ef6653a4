#include "client/cli/watch/record_rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mantissa::cli {
namespace {

int ValueCount(const v1::Column& column) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      return column.floats().values_size();
    case v1::Column::kDoubles:
      return column.doubles().values_size();
    case v1::Column::kIntegers:
      return column.integers().values_size();
    case v1::Column::kBools:
      return column.bools().values_size();
    case v1::Column::VALUES_NOT_SET:
      return 0;
  }
  return 0;
}

double Number(const v1::Column& column, int index) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      return column.floats().values(index);
    case v1::Column::kDoubles:
      return column.doubles().values(index);
    case v1::Column::kIntegers:
      return static_cast<double>(column.integers().values(index));
    case v1::Column::kBools:
      return column.bools().values(index) ? 1 : 0;
    case v1::Column::VALUES_NOT_SET:
      return 0;
  }
  return 0;
}

std::int64_t Integer(const v1::Column& column, int index) {
  if (column.values_case() == v1::Column::kIntegers) return column.integers().values(index);
  const double number = Number(column, index);
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
      row.loss = Number(column, index);
      break;
    case v1::Column::LOSS_SCALE:
      row.loss_scale = Number(column, index);
      break;
    case v1::Column::APPLIED:
      row.applied = Number(column, index) != 0;
      break;
    case v1::Column::GRAD_NORM:
      row.grad_norm = Number(column, index);
      break;
    case v1::Column::LEARNING_RATE:
      row.learning_rate = Number(column, index);
      break;
    case v1::Column::SAMPLES_PER_SECOND:
      row.samples_per_second = Number(column, index);
      break;
    case v1::Column::PHASE:
      row.phase = Integer(column, index);
      break;
    case v1::Column::GROWTH_TRACKER:
      row.growth_tracker = Integer(column, index);
      break;
    default:
      break;
  }
}

}  // namespace

bool IsPresent(const v1::Column& column, std::size_t row) {
  const std::string& bits = column.present();
  if (bits.empty()) return true;
  return row / 8 < bits.size() && ((static_cast<unsigned char>(bits[row / 8]) >> (row % 8)) & 1u) != 0;
}

std::vector<IterationRow> DecodeRows(const v1::Segment& segment) {
  std::size_t bound = 0;
  for (const v1::Column& column : segment.records().columns()) {
    bound = std::max({bound, static_cast<std::size_t>(ValueCount(column)), column.present().size() * 8});
  }
  std::vector<IterationRow> rows(std::min(bound, static_cast<std::size_t>(std::max(0, segment.count()))));
  for (const v1::Column& column : segment.records().columns()) {
    if (column.id_case() != v1::Column::kStandard) continue;
    const int values = ValueCount(column);
    int next = 0;
    for (std::size_t row = 0; row < rows.size() && next < values; ++row) {
      if (IsPresent(column, row)) Put(column, next++, rows[row]);
    }
  }
  return rows;
}

}  // namespace mantissa::cli
