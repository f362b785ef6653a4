#include "server/core/telemetry_segment.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/core/encoded_field.h"

namespace mantissa::server {
namespace {

constexpr int32_t kMaxRows = 4096;
constexpr int kMaxColumns = 17 + 64;  // the standard ones and a job's own
constexpr size_t kMaxBytes = size_t{1} << 20;
// Leaves room for what comes after.
constexpr int64_t kMaxSequence = std::numeric_limits<int64_t>::max() - kMaxRows;

bool Bit(const std::string& bits, int32_t i) { return (static_cast<unsigned char>(bits[i / 8]) >> (i % 8)) & 1; }

int32_t BitsBefore(const std::string& bits, int32_t end) {
  int32_t count = 0;
  for (int32_t byte = 0; byte < end / 8; ++byte) count += std::popcount(static_cast<unsigned char>(bits[byte]));
  for (int32_t i = end / 8 * 8; i < end; ++i) count += Bit(bits, i);
  return count;
}

// How many values stand before row `row`.
int32_t ValuesBefore(const v1::Column& column, int32_t row) {
  return column.present().empty() ? row : BitsBefore(column.present(), row);
}

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
    if (Bit(column.present(), i)) bits[(i - from) / 8] |= static_cast<char>(1 << ((i - from) % 8));
  }
  column.set_present(bits);
}

}  // namespace

absl::Status CheckSegment(const v1::Segment& segment) {
  if (segment.ByteSizeLong() > kMaxBytes) return absl::InvalidArgumentError("segment: must be at most 1 MiB");
  if (segment.first_attempt_sequence() < 1 || segment.first_attempt_sequence() > kMaxSequence) {
    return absl::InvalidArgumentError(absl::StrCat("segment.first_attempt_sequence: must be 1 to ", kMaxSequence));
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

int64_t LastAttemptSequence(const v1::Segment& segment) {
  if (segment.has_gap()) return segment.gap().to();
  return segment.first_attempt_sequence() + segment.count() - 1;
}

v1::Segment WithoutFirstRows(const v1::Segment& segment, int32_t rows) {
  v1::Segment rest = segment;
  if (rest.first_attempt_sequence() > 0) rest.set_first_attempt_sequence(segment.first_attempt_sequence() + rows);
  if (rest.first_sequence() > 0) rest.set_first_sequence(segment.first_sequence() + rows);
  rest.set_count(segment.count() - rows);
  for (v1::Column& column : *rest.mutable_records()->mutable_columns()) KeepRows(column, rows, segment.count());
  return rest;
}

v1::Segment FirstRows(const v1::Segment& segment, int32_t rows) {
  v1::Segment first = segment;
  first.set_count(rows);
  for (v1::Column& column : *first.mutable_records()->mutable_columns()) KeepRows(column, 0, rows);
  return first;
}

v1::Segment After(const v1::Segment& segment, int64_t attempt_sequence) {
  if (segment.has_records()) {
    return WithoutFirstRows(segment, static_cast<int32_t>(attempt_sequence - segment.first_attempt_sequence() + 1));
  }
  v1::Segment rest = segment;
  rest.set_first_attempt_sequence(attempt_sequence + 1);
  rest.mutable_gap()->set_from(attempt_sequence + 1);
  return rest;
}

std::optional<double> ValueAt(const v1::RecordColumns& records, v1::Column::Standard standard, int32_t row) {
  for (const v1::Column& column : records.columns()) {
    if (column.id_case() != v1::Column::kStandard || column.standard() != standard) continue;
    if (!column.present().empty() && !Bit(column.present(), row)) return std::nullopt;
    const int32_t at = ValuesBefore(column, row);
    switch (column.values_case()) {
      case v1::Column::kFloats:
        return column.floats().values(at);
      case v1::Column::kDoubles:
        return column.doubles().values(at);
      case v1::Column::kIntegers:
        return static_cast<double>(column.integers().values(at));
      case v1::Column::kBools:
        return column.bools().values(at) ? 1.0 : 0.0;
      case v1::Column::VALUES_NOT_SET:
        return std::nullopt;
    }
  }
  return std::nullopt;
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
