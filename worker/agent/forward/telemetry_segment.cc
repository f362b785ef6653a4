#include "worker/agent/forward/telemetry_segment.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"

#include "proto/spec/column_values.h"

namespace mantissa::agent {
namespace {

using spec::IsPresent;
using spec::ValueCount;

constexpr std::int64_t kMaxSequence = std::int64_t{1} << 60;
constexpr std::size_t kMaxSegmentBytes = std::size_t{1} << 20;

// As near as an int32 comes: a gap's counts may be a trainer's, and so any number.
std::int32_t Sum(std::int32_t a, std::int32_t b) {
  using Limits = std::numeric_limits<std::int32_t>;
  const std::int64_t sum = std::int64_t{a} + b;
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(sum, Limits::min(), Limits::max()));
}

const v1::Column* FindColumn(const v1::Segment& segment, v1::Column::Standard standard) {
  for (const v1::Column& column : segment.records().columns()) {
    if (column.id_case() == v1::Column::kStandard && column.standard() == standard && ValueCount(column) > 0) {
      return &column;
    }
  }
  return nullptr;
}

// What a trainer sends as a count may be any number, NaN included; 0 for what is none.
std::int32_t CountAt(const v1::Column& column, int index) {
  const double number = ValueAt(column, index);
  if (!(number >= 0) || number > std::numeric_limits<std::int32_t>::max()) return 0;
  return static_cast<std::int32_t>(number);
}

std::int32_t LastCount(const v1::Segment& segment, v1::Column::Standard standard) {
  const v1::Column* column = FindColumn(segment, standard);
  return column == nullptr ? 0 : CountAt(*column, ValueCount(*column) - 1);
}

}  // namespace

double ValueAt(const v1::Column& column, int index) {
  return column.values_case() == v1::Column::VALUES_NOT_SET ? std::nan("") : spec::NumberAt(column, index);
}

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
    if (column.values_case() == v1::Column::VALUES_NOT_SET || ValueCount(column) != present) {
      return absl::InvalidArgumentError("a column with more or fewer values than rows that have one");
    }
  }
  return absl::OkStatus();
}

Progress ProgressOf(const v1::Segment& segment) {
  if (!segment.has_records()) return {};
  return {LastCount(segment, v1::Column::ITERATION), LastCount(segment, v1::Column::STEP)};
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
    summary.set_first_iteration(CountAt(*iteration, 0));
    summary.set_last_iteration(CountAt(*iteration, ValueCount(*iteration) - 1));
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
  sum.set_records(Sum(earlier.records(), later.records()));
  sum.set_events(Sum(earlier.events(), later.events()));
  sum.set_skipped_iterations(Sum(earlier.skipped_iterations(), later.skipped_iterations()));
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
