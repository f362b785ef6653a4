#include "client/cli/watch/record_cells.h"

#include <charconv>
#include <cmath>
#include <cstdint>

#include "proto/spec/column_values.h"

namespace mantissa::cli {
namespace {

template <typename Number>
RecordCell NumberCell(Number number) {
  if (std::isnan(number)) return {"NaN", false};
  if (std::isinf(number)) return {number < 0 ? "-Infinity" : "Infinity", false};
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number);
  return {std::string(text, end.ptr), true};
}

RecordCell IntegerCell(v1::Column::Standard column, std::int64_t value) {
  const int code = static_cast<int>(value);
  if (column == v1::Column::SKIP_CAUSE && v1::SkipCause::Code_IsValid(code)) {
    return {v1::SkipCause::Code_Name(static_cast<v1::SkipCause::Code>(code)), false};
  }
  if (column == v1::Column::PHASE && v1::Phase::Code_IsValid(code)) {
    return {v1::Phase::Code_Name(static_cast<v1::Phase::Code>(code)), false};
  }
  return {std::to_string(value), true};
}

RecordCell CellAt(const v1::Column& column, int index) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      return index < column.floats().values_size() ? NumberCell(column.floats().values(index)) : RecordCell();
    case v1::Column::kDoubles:
      return index < column.doubles().values_size() ? NumberCell(column.doubles().values(index)) : RecordCell();
    case v1::Column::kIntegers:
      return index < column.integers().values_size() ? IntegerCell(column.standard(), column.integers().values(index))
                                                     : RecordCell();
    case v1::Column::kBools:
      if (index >= column.bools().values_size()) return {};
      return {column.bools().values(index) ? "true" : "false", true};
    case v1::Column::VALUES_NOT_SET:
      break;
  }
  return {};
}

}  // namespace

RecordCells::RecordCells(const v1::RecordColumns& records, const std::vector<RecordColumn>& columns)
    : places_(columns.size()) {
  for (std::size_t i = 0; i < columns.size(); ++i) {
    for (const v1::Column& column : records.columns()) {
      if (column.id_case() == v1::Column::kStandard && column.standard() == columns[i].standard &&
          column.statistic() == columns[i].statistic) {
        places_[i].column = &column;
      }
    }
  }
}

std::vector<RecordCell> RecordCells::Next() {
  std::vector<RecordCell> cells(places_.size());
  for (std::size_t i = 0; i < places_.size(); ++i) {
    Place& place = places_[i];
    if (place.column != nullptr && spec::IsPresent(*place.column, row_))
      cells[i] = CellAt(*place.column, place.value++);
  }
  ++row_;
  return cells;
}

}  // namespace mantissa::cli
