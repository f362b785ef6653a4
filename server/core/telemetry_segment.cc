#include "server/core/telemetry_segment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"

#include "mantissa/v1/job_service.pb.h"
#include "proto/spec/column_values.h"
#include "server/core/encoded_field.h"

namespace mantissa::server {
namespace {

using spec::FindColumn;
using spec::IsPresent;
using spec::NumberAt;
using spec::ValueCount;
using spec::ValuesBefore;

constexpr int32_t kMaxRows = 4096;
constexpr int kMaxColumns = 17 + 64;  // the standard ones and a job's own
constexpr size_t kMaxBytes = size_t{1} << 20;
// Leaves room for what comes after.
constexpr int64_t kMaxSequence = std::numeric_limits<int64_t>::max() - kMaxRows;

bool IsMetricName(const std::string& name) {
  auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  return !name.empty() && name.size() <= 63 && letter(name[0]) && std::all_of(name.begin(), name.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '/';
  });
}

absl::Status CheckColumn(const v1::Column& column, int32_t rows) {
  if (column.id_case() == v1::Column::kName && !IsMetricName(column.name())) {
    return absl::InvalidArgumentError("records.columns.name: must match ^[a-z][a-z0-9_./]{0,62}$");
  }
  const std::string& present = column.present();
  if (!present.empty() && present.size() != static_cast<size_t>((rows + 7) / 8)) {
    return absl::InvalidArgumentError("records.columns.present: must have one bit a row");
  }
  if (!present.empty() && rows % 8 != 0 && (static_cast<unsigned char>(present.back()) >> (rows % 8)) != 0) {
    return absl::InvalidArgumentError("records.columns.present: has bits past the last row");
  }
  // A column whose type a newer worker invented has no values that can be counted here; it is kept as it is.
  if (column.values_case() == v1::Column::VALUES_NOT_SET) return absl::OkStatus();
  if (ValueCount(column) != ValuesBefore(column, rows)) {
    return absl::InvalidArgumentError(absl::StrCat("records.columns.values: ", ValueCount(column), " values for ",
                                                   ValuesBefore(column, rows), " rows that have one"));
  }
  return absl::OkStatus();
}

template <typename Values>
void KeepValues(Values* values, int from, int to) {
  values->mutable_values()->Truncate(to);
  values->mutable_values()->erase(values->values().begin(), values->values().begin() + from);
}

// Of its rows, those from `from` on and before `to`.
void KeepRows(v1::Column& column, int32_t from, int32_t to) {
  const int32_t first = ValuesBefore(column, from), end = ValuesBefore(column, to);
  switch (column.values_case()) {
    case v1::Column::kFloats:
      KeepValues(column.mutable_floats(), first, end);
      break;
    case v1::Column::kDoubles:
      KeepValues(column.mutable_doubles(), first, end);
      break;
    case v1::Column::kIntegers:
      KeepValues(column.mutable_integers(), first, end);
      break;
    case v1::Column::kBools:
      KeepValues(column.mutable_bools(), first, end);
      break;
    case v1::Column::VALUES_NOT_SET:
      break;
  }
  if (column.present().empty()) return;
  std::string bits((to - from + 7) / 8, '\0');
  for (int32_t i = from; i < to; ++i) {
    if (IsPresent(column, i)) bits[(i - from) / 8] |= static_cast<char>(1 << ((i - from) % 8));
  }
  column.set_present(bits);
}

// How many sequences the first `rows` rows of a segment take: a row is one, and a thinned one as many as its records,
// up to the last, which ends where the segment does.
int64_t SequencesOf(const v1::Segment& segment, int32_t rows) {
  if (segment.through_sequence() == 0) return rows;
  if (rows >= segment.count()) return segment.through_sequence() - segment.first_sequence() + 1;
  const v1::Column* const records = FindColumn(segment.records(), v1::Column::RECORDS);
  if (records == nullptr) return rows;
  const int32_t values = std::min(ValuesBefore(*records, rows), records->integers().values_size());
  const auto begin = records->integers().values().begin();
  return std::accumulate(begin, begin + values, int64_t{0});
}

// Without its first `rows` entries, 0 <= rows < count, that took so many sequences.
v1::Segment WithoutFirstRows(const v1::Segment& segment, int32_t rows, int64_t sequences) {
  v1::Segment rest = segment;
  if (rest.first_attempt_sequence() > 0) rest.set_first_attempt_sequence(segment.first_attempt_sequence() + sequences);
  if (rest.first_sequence() > 0) rest.set_first_sequence(segment.first_sequence() + sequences);
  rest.set_count(segment.count() - rows);
  for (v1::Column& column : *rest.mutable_records()->mutable_columns()) KeepRows(column, rows, segment.count());
  return rest;
}

}  // namespace

absl::Status CheckSegment(const v1::Segment& segment) {
  if (segment.ByteSizeLong() > kMaxBytes) return absl::InvalidArgumentError("segment: must be at most 1 MiB");
  if (segment.first_attempt_sequence() < 1 || segment.first_attempt_sequence() > kMaxSequence) {
    return absl::InvalidArgumentError(absl::StrCat("segment.first_attempt_sequence: must be 1 to ", kMaxSequence));
  }
  if (segment.through_sequence() != 0) {
    return absl::InvalidArgumentError("segment.through_sequence: is given by the server alone; leave it out");
  }
  switch (segment.body_case()) {
    case v1::Segment::kRecords: {
      if (segment.count() < 1 || segment.count() > kMaxRows) {
        return absl::InvalidArgumentError(absl::StrCat("segment.count: must be 1 to ", kMaxRows, " for records"));
      }
      if (segment.records().columns_size() > kMaxColumns) {
        return absl::InvalidArgumentError(absl::StrCat("records.columns: at most ", kMaxColumns));
      }
      for (const v1::Column& column : segment.records().columns()) {
        absl::Status status = CheckColumn(column, segment.count());
        if (!status.ok()) return status;
      }
      return absl::OkStatus();
    }
    case v1::Segment::kEvent:
      if (segment.count() != 1) return absl::InvalidArgumentError("segment.count: must be 1 for an event");
      return absl::OkStatus();
    case v1::Segment::kGap:
      if (segment.count() != 1) return absl::InvalidArgumentError("segment.count: must be 1 for a gap");
      if (segment.gap().from() != segment.first_attempt_sequence() || segment.gap().to() < segment.gap().from() ||
          segment.gap().to() > kMaxSequence) {
        return absl::InvalidArgumentError(absl::StrCat(
            "segment.gap: must begin at first_attempt_sequence, not end before it, and end by ", kMaxSequence));
      }
      return absl::OkStatus();
    case v1::Segment::BODY_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("segment: has no records, event or gap that this server knows");
}

int64_t LastSequence(const v1::Segment& segment) {
  if (segment.through_sequence() > 0) return segment.through_sequence();
  return segment.first_sequence() + segment.count() - 1;
}

int64_t LastAttemptSequence(const v1::Segment& segment) {
  if (segment.has_gap()) return segment.gap().to() > 0 ? segment.gap().to() : kMaxAttemptSequence;
  // Rows of a store stand for records that followed one another.
  if (segment.through_sequence() > 0) {
    return segment.first_attempt_sequence() + segment.through_sequence() - segment.first_sequence();
  }
  return segment.first_attempt_sequence() + segment.count() - 1;
}

int32_t RowsThrough(const v1::Segment& segment, int64_t sequence) {
  const int64_t before = sequence - segment.first_sequence();
  if (segment.through_sequence() == 0) {
    return static_cast<int32_t>(std::clamp<int64_t>(before, -1, segment.count() - 1)) + 1;
  }
  int32_t rows = 0;
  while (rows < segment.count() && SequencesOf(segment, rows) <= before) ++rows;
  return rows;
}

v1::Segment FromSequence(const v1::Segment& segment, int64_t sequence) {
  const int32_t rows = RowsThrough(segment, sequence) - 1;
  const int64_t passed = SequencesOf(segment, rows);
  v1::Segment rest = WithoutFirstRows(segment, rows, passed);
  const int64_t cut = sequence - rest.first_sequence();
  if (cut == 0 || segment.through_sequence() == 0) return rest;
  const int64_t left = SequencesOf(rest, 1) - cut;
  rest.set_first_sequence(sequence);
  rest.set_first_attempt_sequence(rest.first_attempt_sequence() + cut);
  for (v1::Column& column : *rest.mutable_records()->mutable_columns()) {
    const bool counts = column.standard() == v1::Column::RECORDS || column.standard() == v1::Column::SKIPPED_RECORDS;
    if (!counts || !IsPresent(column, 0) || column.integers().values_size() == 0) continue;
    column.mutable_integers()->set_values(0, std::min(column.integers().values(0), left));
  }
  return rest;
}

v1::Segment FirstRows(const v1::Segment& segment, int32_t rows) {
  v1::Segment first = segment;
  if (segment.through_sequence() > 0 && rows < segment.count()) {
    first.set_through_sequence(segment.first_sequence() + SequencesOf(segment, rows) - 1);
  }
  first.set_count(rows);
  for (v1::Column& column : *first.mutable_records()->mutable_columns()) KeepRows(column, 0, rows);
  return first;
}

v1::Segment After(const v1::Segment& segment, int64_t attempt_sequence) {
  if (segment.has_records()) {
    const auto rows = static_cast<int32_t>(attempt_sequence - segment.first_attempt_sequence() + 1);
    return WithoutFirstRows(segment, rows, rows);
  }
  v1::Segment rest = segment;
  rest.set_first_attempt_sequence(attempt_sequence + 1);
  rest.mutable_gap()->set_from(attempt_sequence + 1);
  return rest;
}

std::optional<double> ValueAt(const v1::RecordColumns& records, v1::Column::Standard standard, int32_t row) {
  const v1::Column* const column = FindColumn(records, standard);
  if (column == nullptr || column->values_case() == v1::Column::VALUES_NOT_SET || !IsPresent(*column, row)) {
    return std::nullopt;
  }
  return NumberAt(*column, ValuesBefore(*column, row));
}

int32_t TakeProgress(const v1::Segment& segment, v1::JobProgress& progress) {
  const int32_t row = segment.count() - 1;
  auto value = [&](v1::Column::Standard column) { return ValueAt(segment.records(), column, row); };
  // What a worker sends as a count may be any number, NaN included.
  auto count = [&](v1::Column::Standard column) -> std::optional<int32_t> {
    const std::optional<double> number = value(column);
    if (!number || !(*number >= 0) || *number > std::numeric_limits<int32_t>::max()) return std::nullopt;
    return static_cast<int32_t>(*number);
  };
  const std::optional<int32_t> iteration = count(v1::Column::ITERATION);
  const std::optional<int32_t> step = count(v1::Column::STEP);
  if (iteration) progress.set_iteration(*iteration);
  if (step) progress.set_step(*step);
  // A window consumed is applied or skipped, over all attempts.
  if (iteration && step) progress.set_skipped_iterations(std::max(0, *iteration - *step));

  auto copy = [&](v1::Column::Standard column, auto set, auto clear) {
    const std::optional<double> number = value(column);
    if (number) {
      (progress.*set)(*number);
    } else {
      (progress.*clear)();
    }
  };
  copy(v1::Column::LOSS, &v1::JobProgress::set_loss, &v1::JobProgress::clear_loss);
  copy(v1::Column::LOSS_SCALE, &v1::JobProgress::set_loss_scale, &v1::JobProgress::clear_loss_scale);
  copy(v1::Column::GRAD_NORM, &v1::JobProgress::set_grad_norm, &v1::JobProgress::clear_grad_norm);
  copy(v1::Column::LEARNING_RATE, &v1::JobProgress::set_learning_rate, &v1::JobProgress::clear_learning_rate);
  copy(v1::Column::SAMPLES_PER_SECOND, &v1::JobProgress::set_samples_per_second,
       &v1::JobProgress::clear_samples_per_second);
  return iteration.value_or(0);
}

void AppendEncoded(const v1::Segment& segment, std::string& bytes) {
  AppendEncodedField(v1::WatchJobResponse::kSegmentsFieldNumber, segment, bytes);
}

}  // namespace mantissa::server
