#include "server/telemetry/thinned_replay.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "server/core/telemetry_segment.h"

namespace mantissa::server {
namespace {

// About a chunk, so that the first rows leave early and no frame grows large.
constexpr int64_t kReadBytes = int64_t{256} << 10;
constexpr int kReads = 64;

}  // namespace

absl::StatusOr<std::optional<ThinningPlan>> PlanReplay(JobStore& store, const std::string& job_id, StoredRange range,
                                                       int32_t max_points) {
  const int64_t entries = range.through - range.from + 1;
  if (!PlanThinning(entries, max_points)) return std::optional<ThinningPlan>();
  const absl::StatusOr<int64_t> events = store.CountEvents(job_id, range.from, range.through);
  if (!events.ok()) return events.status();
  return PlanThinning(entries - *events, max_points);
}

absl::Status ThinnedReplay::ReadPage() {
  absl::StatusOr<TelemetryPage> page = store_.ReadTelemetry(job_id_, read_next_, kReadBytes);
  if (!page.ok()) return page.status();
  if (page->segments.empty()) {
    return absl::InternalError(absl::StrCat("job ", job_id_, " has no stored entry ", read_next_));
  }
  for (v1::Segment& segment : page->segments) {
    if (segment.first_sequence() > range_.through) break;
    read_next_ = LastSequence(segment) + 1;
    if (segment.has_event() && !options_.events) continue;
    // A row that was thinned before goes whole.
    if (segment.has_records() && segment.through_sequence() == 0 && read_next_ > range_.through + 1) {
      segment = FirstRows(segment, static_cast<int32_t>(range_.through - segment.first_sequence() + 1));
    }
    thinning_.Add(segment);
  }
  return absl::OkStatus();
}

std::vector<v1::Segment> ThinnedReplay::TakeComplete() {
  std::vector<v1::Segment> complete = thinning_.Take();
  next_ = std::max(next_, thinning_.covered_through() + 1);
  return complete;
}

absl::StatusOr<std::vector<v1::Segment>> ThinnedReplay::Next() {
  for (int reads = 0; reads < kReads && read_next_ <= range_.through; ++reads) {
    absl::Status status = ReadPage();
    if (!status.ok()) return status;
    if (read_next_ > range_.through) break;
    std::vector<v1::Segment> complete = TakeComplete();
    if (!complete.empty()) return complete;
  }
  if (read_next_ <= range_.through) return std::vector<v1::Segment>();
  return EndRow();
}

std::vector<v1::Segment> ThinnedReplay::EndRow() {
  thinning_.Finish();
  std::vector<v1::Segment> complete = TakeComplete();
  // Events that were left out after the last row are answered for, too.
  next_ = std::max(next_, std::min(read_next_, range_.through + 1));
  return complete;
}

}  // namespace mantissa::server
