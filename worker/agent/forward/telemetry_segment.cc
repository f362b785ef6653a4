#include "worker/agent/forward/telemetry_segment.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"

namespace mantissa::agent {
namespace {

constexpr std::int64_t kMaxSequence = std::int64_t{1} << 60;
constexpr std::size_t kMaxSegmentBytes = std::size_t{1} << 20;

bool IsPresent(const v1::Column& column, int row) {
  const std::string& bits = column.present();
  if (bits.empty()) return true;
  const auto byte = static_cast<std::size_t>(row) / 8;
  return byte < bits.size() && ((static_cast<unsigned char>(bits[byte]) >> (row % 8)) & 1) != 0;
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
    default:
      return -1;
  }
}

double ValueAt(const v1::Column& column, int index) {
  switch (column.values_case()) {
    case v1::Column::kFloats:
      return column.floats().values(index);
    case v1::Column::kDoubles:
      return column.doubles().values(index);
    case v1::Column::kIntegers:
      return static_cast<double>(column.integers().values(index));
    case v1::Column::kBools:
      return column.bools().values(index) ? 1.0 : 0.0;
    default:
      return std::nan("");
  }
}

const v1::Column* FindColumn(const v1::Segment& segment, v1::Column::Standard standard) {
  for (const v1::Column& column : segment.records().columns()) {
    if (column.id_case() == v1::Column::kStandard && column.standard() == standard && ValueCount(column) > 0) {
      return &column;
    }
  }
  return nullptr;
}

std::int32_t LastInteger(const v1::Segment& segment, v1::Column::Standard standard) {
  const v1::Column* column = FindColumn(segment, standard);
  return column == nullptr ? 0 : static_cast<std::int32_t>(ValueAt(*column, ValueCount(*column) - 1));
}

}  // namespace

std::int64_t LastAttemptSequence(const v1::Segment& segment) {
  if (segment.has_gap()) return segment.gap().to();
  return std::min(segment.first_attempt_sequence(), kMaxSequence) + segment.count() - 1;
}

absl::Status CheckSegment(const v1::Segment& segment) {
  if (segment.first_attempt_sequence() < 1 || segment.first_attempt_sequence() > kMaxSequence ||
      LastAttemptSequence(segment) > kMaxSequence) {
    return absl::InvalidArgumentError("an attempt sequence out of range");
  }
  if (segment.ByteSizeLong() > kMaxSegmentBytes) return absl::InvalidArgumentError("a segment of more than 1 MiB");
  if (segment.has_event() || segment.has_gap()) {
    if (segment.count() != 1) return absl::InvalidArgumentError("an event or gap that counts as more than one");
    const bool bad_gap = segment.has_gap() && (segment.gap().from() != segment.first_attempt_sequence() ||
                                               segment.gap().to() < segment.gap().from());
    return bad_gap ? absl::InvalidArgumentError("a gap without a range") : absl::OkStatus();
  }
  if (!segment.has_records()) return absl::InvalidArgumentError("a segment with nothing in it");
  if (segment.count() < 1 || segment.count() > kMaxRowsPerBatch) {
    return absl::InvalidArgumentError(absl::StrCat(segment.count(), " rows in a segment; 1 to ", kMaxRowsPerBatch));
  }
  for (const v1::Column& column : segment.records().columns()) {
    int present = 0;
    for (int row = 0; row < segment.count(); ++row) present += IsPresent(column, row) ? 1 : 0;
    if (ValueCount(column) != present) {
      return absl::InvalidArgumentError("a column with more or fewer values than rows that have one");
    }
  }
  return absl::OkStatus();
}

Progress ProgressOf(const v1::Segment& segment) {
  if (!segment.has_records()) return {};
  return {LastInteger(segment, v1::Column::ITERATION), LastInteger(segment, v1::Column::STEP)};
}

v1::GapSummary Summarize(const v1::Segment& segment) {
  v1::GapSummary summary;
  if (segment.has_gap()) return segment.gap().summary();
  if (segment.has_event()) {
    summary.set_events(1);
    return summary;
  }
  summary.set_records(segment.count());
  if (const v1::Column* iteration = FindColumn(segment, v1::Column::ITERATION)) {
    summary.set_first_iteration(static_cast<std::int32_t>(ValueAt(*iteration, 0)));
    summary.set_last_iteration(static_cast<std::int32_t>(ValueAt(*iteration, ValueCount(*iteration) - 1)));
  }
  if (const v1::Column* applied = FindColumn(segment, v1::Column::APPLIED)) {
    int skipped = 0;
    for (int i = 0; i < ValueCount(*applied); ++i) skipped += ValueAt(*applied, i) == 0.0 ? 1 : 0;
    summary.set_skipped_iterations(skipped);
  }
  if (const v1::Column* loss = FindColumn(segment, v1::Column::LOSS)) {
    for (int i = 0; i < ValueCount(*loss); ++i) {
      const double value = ValueAt(*loss, i);
      summary.set_last_loss(value);
      if (std::isnan(value)) continue;  // would hide every other value
      summary.set_min_loss(summary.has_min_loss() ? std::min(summary.min_loss(), value) : value);
      summary.set_max_loss(summary.has_max_loss() ? std::max(summary.max_loss(), value) : value);
    }
  }
  return summary;
}

v1::GapSummary Merge(const v1::GapSummary& earlier, const v1::GapSummary& later) {
  v1::GapSummary sum = earlier;
  sum.set_records(earlier.records() + later.records());
  sum.set_events(earlier.events() + later.events());
  sum.set_skipped_iterations(earlier.skipped_iterations() + later.skipped_iterations());
  if (earlier.first_iteration() == 0) sum.set_first_iteration(later.first_iteration());
  if (later.last_iteration() != 0) sum.set_last_iteration(later.last_iteration());
  if (later.has_last_loss()) sum.set_last_loss(later.last_loss());
  if (later.has_min_loss()) {
    sum.set_min_loss(earlier.has_min_loss() ? std::min(earlier.min_loss(), later.min_loss()) : later.min_loss());
  }
  if (later.has_max_loss()) {
    sum.set_max_loss(earlier.has_max_loss() ? std::max(earlier.max_loss(), later.max_loss()) : later.max_loss());
  }
  return sum;
}

v1::Segment MakeGap(std::int32_t attempt, std::int64_t from, std::int64_t to, const char* reason,
                    const v1::GapSummary& summary) {
  v1::Segment segment;
  segment.set_attempt(attempt);
  segment.set_first_attempt_sequence(from);
  segment.set_count(1);
  v1::Gap* gap = segment.mutable_gap();
  gap->set_from(from);
  gap->set_to(to);
  gap->set_reason(reason);
  *gap->mutable_summary() = summary;
  return segment;
}

}  // namespace mantissa::agent
