// Iteration records as texts that lose nothing.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::cli {

// One value. Empty where the record has none.
struct RecordCell {
  std::string text;
  bool is_number = false;  // else a name, or NaN, Infinity, -Infinity
};

// A quantity, or what a thinned row says of it.
struct RecordColumn {
  v1::Column::Standard standard = v1::Column::STANDARD_UNSPECIFIED;
  v1::Column::Statistic statistic = v1::Column::STATISTIC_UNSPECIFIED;
};

// Row after row of chosen columns. Not thread-safe.
class RecordCells {
 public:
  // `records` must outlive it.
  RecordCells(const v1::RecordColumns& records, const std::vector<RecordColumn>& columns);

  // One cell a column, in their order. Beyond the last row all are empty.
  std::vector<RecordCell> Next();

 private:
  struct Place {
    const v1::Column* column = nullptr;  // null: the records have none
    int value = 0;                       // the next one
  };

  std::vector<Place> places_;
  std::size_t row_ = 0;
};

}  // namespace mantissa::cli
