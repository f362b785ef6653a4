#include "server/core/thinning.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "proto/spec/column_values.h"
#include "server/core/telemetry_segment.h"

namespace mantissa::server {
namespace {

using spec::EmptyColumn;
using spec::FindColumn;
using spec::IsPresent;
using spec::NumberAt;
using spec::SameQuantity;
using spec::ValueCount;
using spec::ValuesBefore;

// Events that wait for the row that they are among.
constexpr size_t kHeldBytes = size_t{64} << 10;

// Appends `value`, one of row `row`, to a column of the rows before it. Its `present` is in use from the first row on
// that lacks a value.
void AppendValue(const v1::Column& value, int32_t row, v1::Column& column) {
  std::string& present = *column.mutable_present();
  if (present.empty() && ValueCount(column) < row) {
    present.assign((row + 7) / 8, '\0');
    for (int32_t i = 0; i < ValueCount(column); ++i) present[i / 8] |= static_cast<char>(1 << (i % 8));
  }
  if (!present.empty()) {
    present.resize(row / 8 + 1, '\0');
    present[row / 8] |= static_cast<char>(1 << (row % 8));
  }
  column.MergeFrom(value);
}

// Whether rows with these values may join `rows`: a quantity has one type in a segment.
bool TypesAgree(const v1::RecordColumns& rows, const std::vector<v1::Column>& values) {
  return std::all_of(values.begin(), values.end(), [&](const v1::Column& value) {
    return std::none_of(rows.columns().begin(), rows.columns().end(), [&](const v1::Column& column) {
      return SameQuantity(column, value) && column.values_case() != value.values_case();
    });
  });
}

v1::Column OneInteger(v1::Column::Standard standard, int64_t value) {
  v1::Column column;
  column.set_standard(standard);
  column.mutable_integers()->add_values(value);
  return column;
}

v1::Column OneStatistic(v1::Column::Standard standard, v1::Column::Statistic statistic, double value) {
  v1::Column column;
  column.set_standard(standard);
  column.set_statistic(statistic);
  column.mutable_doubles()->add_values(value);
  return column;
}

// Row `row` of a column, as a column of one row; it has no values when the row has none.
v1::Column ValueOf(const v1::Column& column, int32_t row) {
  v1::Column one = EmptyColumn(column);
  if (!IsPresent(column, row)) return one;
  const int32_t at = ValuesBefore(column, row);
  switch (column.values_case()) {
    case v1::Column::kFloats:
      one.mutable_floats()->add_values(column.floats().values(at));
      break;
    case v1::Column::kDoubles:
      one.mutable_doubles()->add_values(column.doubles().values(at));
      break;
    case v1::Column::kIntegers:
      one.mutable_integers()->add_values(column.integers().values(at));
      break;
    case v1::Column::kBools:
      one.mutable_bools()->add_values(column.bools().values(at));
      break;
    case v1::Column::VALUES_NOT_SET:
      break;
  }
  return one;
}

// A column read from its first row to its last.
class Reading {
 public:
  explicit Reading(const v1::Column* column)
      : column_(column != nullptr && column->values_case() != v1::Column::VALUES_NOT_SET ? column : nullptr) {}

  bool has_column() const { return column_ != nullptr; }
  // Of the next row.
  std::optional<double> Next() {
    if (column_ == nullptr || !IsPresent(*column_, row_++)) return std::nullopt;
    return NumberAt(*column_, value_++);
  }

 private:
  const v1::Column* column_;
  int32_t row_ = 0, value_ = 0;
};

}  // namespace

std::optional<ThinningPlan> PlanThinning(int64_t records, int32_t max_points) {
  if (max_points <= 0 || records <= max_points) return std::nullopt;
  ThinningPlan plan;
  plan.records_per_row = (records + max_points - 1) / max_points;
  plan.extra_rows = max_points / 4;
  return plan;
}

void Thinning::Extremes::Add(double value) {
  if (std::isnan(value)) {
    nan = true;
    return;
  }
  if (!min || value < *min) min = value;
  if (!max || value > *max) max = value;
}

// The records of a segment, row by row: what of each counts.
class Thinning::Source {
 public:
  explicit Source(const v1::Segment& segment)
      : segment_(segment),
        // A worker's own columns of these names mean nothing.
        thinned_(segment.through_sequence() > 0),
        records_(thinned_ ? FindColumn(segment.records(), v1::Column::RECORDS) : nullptr),
        skipped_(thinned_ ? FindColumn(segment.records(), v1::Column::SKIPPED_RECORDS) : nullptr),
        applied_(FindColumn(segment.records(), v1::Column::APPLIED)) {
    for (const v1::Column::Standard standard : kMeasured) {
      values_.emplace_back(FindColumn(segment.records(), standard));
      for (const v1::Column::Statistic end : {v1::Column::MINIMUM, v1::Column::MAXIMUM}) {
        ends_.emplace_back(thinned_ ? FindColumn(segment.records(), standard, end) : nullptr);
      }
    }
  }

  // Takes the next row into `gathered`.
  void TakeRow(int32_t row, Gathered& gathered) {
    const int64_t records = std::max<int64_t>(1, static_cast<int64_t>(records_.Next().value_or(1)));
    const bool last = row == segment_.count() - 1;
    if (gathered.records == 0) {
      gathered.first_sequence = segment_.first_sequence() + before_;
      gathered.first_attempt_sequence = segment_.first_attempt_sequence() + before_;
      gathered.attempt = segment_.attempt();
    }
    before_ += records;
    gathered.records += records;
    gathered.through_sequence = last ? LastSequence(segment_) : segment_.first_sequence() + before_ - 1;
    const std::optional<double> applied = applied_.Next(), skipped = skipped_.Next();
    if (skipped || applied) {
      gathered.skipped = gathered.skipped.value_or(0) + (skipped ? static_cast<int64_t>(*skipped) : *applied == 0);
    }
    for (size_t i = 0; i < kMeasured.size(); ++i) {
      const std::optional<double> value = values_[i].Next();
      if (value) gathered.extremes[i].Add(*value);
      for (const size_t end : {2 * i, 2 * i + 1}) {
        if (const std::optional<double> of_row = ends_[end].Next()) gathered.extremes[i].Add(*of_row);
      }
    }
  }

 private:
  const v1::Segment& segment_;
  const bool thinned_;
  Reading records_, skipped_, applied_;
  std::vector<Reading> values_, ends_;
  int64_t before_ = 0;  // records of the rows that were taken
};

Thinning::Thinning(ThinningPlan plan)
    : plan_(std::move(plan)), early_records_(plan_.extra_rows * plan_.records_per_row) {}

bool Thinning::Wants(const v1::Column& column) const {
  if (column.statistic() != v1::Column::STATISTIC_UNSPECIFIED) return false;
  if (column.id_case() == v1::Column::kStandard &&
      (column.standard() == v1::Column::RECORDS || column.standard() == v1::Column::SKIPPED_RECORDS)) {
    return false;
  }
  if (plan_.columns.empty()) return true;
  return column.id_case() == v1::Column::kStandard &&
         std::find(plan_.columns.begin(), plan_.columns.end(), column.standard()) != plan_.columns.end();
}

void Thinning::Add(const v1::Segment& segment) {
  if (segment.has_records()) {
    AddRecords(segment);
  } else {
    AddOther(segment);
  }
}

void Thinning::AddRecords(const v1::Segment& segment) {
  if (open_ && open_->attempt != segment.attempt()) CloseRow();
  std::vector<const v1::Column*> wanted;
  for (const v1::Column& column : segment.records().columns()) {
    if (Wants(column)) wanted.push_back(&column);
  }
  Source source(segment);
  for (int32_t row = 0; row < segment.count(); ++row) {
    if (!open_) open_ = Gathered();
    source.TakeRow(row, *open_);
    open_->wanted = open_->wanted || !wanted.empty();
    const bool full = open_->records >= plan_.records_per_row;
    if (!full && row != segment.count() - 1) continue;
    open_->last.clear();
    for (const v1::Column* column : wanted) open_->last.push_back(ValueOf(*column, row));
    if (full) CloseRow();
  }
}

void Thinning::AddOther(const v1::Segment& segment) {
  const int64_t missing = open_ ? plan_.records_per_row - open_->records : 0;
  if (open_ && (missing <= early_records_ || held_bytes_ > kHeldBytes)) {
    early_records_ = std::max<int64_t>(0, early_records_ - missing);
    CloseRow();
  }
  if (!open_) {
    EmitRows();
    return Emit(segment);
  }
  held_.push_back(segment);
  held_bytes_ += segment.ByteSizeLong();
}

void Thinning::Finish() {
  if (open_) CloseRow();
}

std::vector<v1::Segment> Thinning::Take() {
  EmitRows();
  return std::exchange(complete_, {});
}

void Thinning::CloseRow() {
  Gathered row = *std::exchange(open_, std::nullopt);
  const std::vector<v1::Segment> held = std::exchange(held_, {});
  held_bytes_ = 0;
  if (!held.empty()) EmitRows();
  const auto after = std::find_if(held.begin(), held.end(), [&](const v1::Segment& other) {
    return other.first_sequence() > row.through_sequence;
  });
  for (auto before = held.begin(); before != after; ++before) {
    row.first_sequence = LastSequence(*before) + 1;
    Emit(*before);
  }
  if (row.wanted) {
    AppendRow(row);
  } else {
    EmitRows();
    covered_through_ = row.through_sequence;
  }
  if (after == held.end()) return;
  EmitRows();
  std::for_each(after, held.end(), [this](const v1::Segment& other) { Emit(other); });
}

void Thinning::AppendRow(const Gathered& row) {
  std::vector<v1::Column> values = row.last;
  values.push_back(OneInteger(v1::Column::RECORDS, row.records));
  if (row.skipped) values.push_back(OneInteger(v1::Column::SKIPPED_RECORDS, *row.skipped));
  for (size_t i = 0; i < kMeasured.size(); ++i) {
    const v1::Column::Standard standard = kMeasured[i];
    if (!plan_.columns.empty() &&
        std::find(plan_.columns.begin(), plan_.columns.end(), standard) == plan_.columns.end()) {
      continue;
    }
    const Extremes& ends = row.extremes[i];
    if (ends.min) values.push_back(OneStatistic(standard, v1::Column::MINIMUM, *ends.min));
    if (ends.nan) {
      values.push_back(OneStatistic(standard, v1::Column::MAXIMUM, std::numeric_limits<double>::quiet_NaN()));
    } else if (ends.max) {
      values.push_back(OneStatistic(standard, v1::Column::MAXIMUM, *ends.max));
    }
  }
  // A record that lacks a value says nothing of its type.
  std::erase_if(values, [](const v1::Column& value) { return value.values_case() == v1::Column::VALUES_NOT_SET; });

  // Rows share a segment where RECORDS tells where each of them lies.
  const bool whole = row.records == row.through_sequence - row.first_sequence + 1;
  if (rows_ && (!rows_grow_ || !whole || rows_->count() >= plan_.segment_rows || rows_->attempt() != row.attempt ||
                rows_->through_sequence() + 1 != row.first_sequence || !TypesAgree(rows_->records(), values))) {
    EmitRows();
  }
  if (!rows_) {
    rows_.emplace();
    rows_->set_attempt(row.attempt);
    rows_->set_first_attempt_sequence(row.first_attempt_sequence);
    rows_->set_first_sequence(row.first_sequence);
    rows_grow_ = whole;
  }
  const int32_t at = rows_->count();
  rows_->set_count(at + 1);
  rows_->set_through_sequence(row.through_sequence);
  for (const v1::Column& value : values) {
    v1::Column* column = nullptr;
    for (v1::Column& known : *rows_->mutable_records()->mutable_columns()) {
      if (SameQuantity(known, value)) column = &known;
    }
    if (column == nullptr) {
      column = rows_->mutable_records()->add_columns();
      *column = EmptyColumn(value);
    }
    AppendValue(value, at, *column);
  }
}

void Thinning::EmitRows() {
  if (!rows_) return;
  for (v1::Column& column : *rows_->mutable_records()->mutable_columns()) {
    std::string& present = *column.mutable_present();
    if (ValueCount(column) == rows_->count()) {
      present.clear();
      continue;
    }
    // The last rows had none.
    if (present.empty()) {
      for (int32_t i = 0; i < ValueCount(column); ++i) {
        present.resize(i / 8 + 1, '\0');
        present[i / 8] |= static_cast<char>(1 << (i % 8));
      }
    }
    present.resize((rows_->count() + 7) / 8, '\0');
  }
  Emit(*std::exchange(rows_, std::nullopt));
}

void Thinning::Emit(v1::Segment segment) {
  covered_through_ = std::max(covered_through_, LastSequence(segment));
  complete_.push_back(std::move(segment));
}

}  // namespace mantissa::server
