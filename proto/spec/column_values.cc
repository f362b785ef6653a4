#include "proto/spec/column_values.h"

#include <bit>

namespace mantissa::spec {

int32_t ValuesBefore(const v1::Column& column, int32_t row) {
  const std::string& bits = column.present();
  if (bits.empty()) return row;
  int32_t count = 0;
  for (int32_t byte = 0; byte < row / 8; ++byte) count += std::popcount(static_cast<unsigned char>(bits[byte]));
  for (int32_t i = row / 8 * 8; i < row; ++i) count += IsPresent(column, i) ? 1 : 0;
  return count;
}

int32_t ValueCount(const v1::Column& column) {
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

double NumberAt(const v1::Column& column, int32_t value) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      return column.floats().values(value);
    case v1::Column::kDoubles:
      return column.doubles().values(value);
    case v1::Column::kIntegers:
      return static_cast<double>(column.integers().values(value));
    case v1::Column::kBools:
      return column.bools().values(value) ? 1 : 0;
    case v1::Column::VALUES_NOT_SET:
      return 0;
  }
  return 0;
}

bool SameQuantity(const v1::Column& a, const v1::Column& b) {
  if (a.id_case() != b.id_case() || a.statistic() != b.statistic()) return false;
  return a.id_case() == v1::Column::kName ? a.name() == b.name() : a.standard() == b.standard();
}

v1::Column EmptyColumn(const v1::Column& column) {
  v1::Column empty;
  if (column.id_case() == v1::Column::kName) empty.set_name(column.name());
  if (column.id_case() == v1::Column::kStandard) empty.set_standard(column.standard());
  empty.set_statistic(column.statistic());
  return empty;
}

const v1::Column* FindColumn(const v1::RecordColumns& records, v1::Column::Standard standard,
                             v1::Column::Statistic statistic) {
  for (const v1::Column& column : records.columns()) {
    if (column.id_case() == v1::Column::kStandard && column.standard() == standard && column.statistic() == statistic) {
      return &column;
    }
  }
  return nullptr;
}

}  // namespace mantissa::spec
