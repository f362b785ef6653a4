// Where the values of a column are: only rows that are present have one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::spec {

// Whether row `row`, from 0, has a value; none that `present` has no bit for.
inline bool IsPresent(const v1::Column& column, int32_t row) {
  const std::string& bits = column.present();
  if (bits.empty()) return true;
  const auto byte = static_cast<size_t>(row) / 8;
  return byte < bits.size() && ((static_cast<unsigned char>(bits[byte]) >> (row % 8)) & 1) != 0;
}

// How many values stand before row `row`.
int32_t ValuesBefore(const v1::Column& column, int32_t row);

// Values of any type; 0 of a type that is not known here.
int32_t ValueCount(const v1::Column& column);

// As a number, whatever its type; 0 of a type that is not known here.
double NumberAt(const v1::Column& column, int32_t value);

// Whether both are the same quantity and statistic.
bool SameQuantity(const v1::Column& a, const v1::Column& b);

// The same quantity and statistic, without values.
v1::Column EmptyColumn(const v1::Column& column);

// The column of `records` with this id and statistic; null: none.
const v1::Column* FindColumn(const v1::RecordColumns& records, v1::Column::Standard standard,
                             v1::Column::Statistic statistic = v1::Column::STATISTIC_UNSPECIFIED);

}  // namespace mantissa::spec
