#include "server/rpc/job/query_history.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "server/core/telemetry_segment.h"
#include "server/rpc/job/read_job.h"
#include "server/rpc/page_token.h"
#include "server/rpc/status.h"
#include "server/telemetry/thinned_replay.h"
#include "server/telemetry/watch_filter.h"

namespace mantissa::server {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
constexpr int64_t kReadBytes = int64_t{256} << 10;
// A page may hold nothing: of a stretch of events this much is read before the client is asked to come again.
constexpr int kReads = 64;
constexpr int32_t kRows = 4'096, kMostRows = 65'536;
constexpr int64_t kMostRecordsPerRow = int64_t{1} << 40;

absl::Status CheckColumns(const v1::QueryHistoryRequest& request) {
  if (request.columns_size() > v1::Column::Standard_ARRAYSIZE) {
    return InvalidField("columns", "has more columns than there are; name each once");
  }
  for (int i = 0; i < request.columns_size(); ++i) {
    if (request.columns(i) == v1::Column::STANDARD_UNSPECIFIED || !v1::Column::Standard_IsValid(request.columns(i))) {
      return InvalidField(absl::StrCat("columns[", i, "]"), "is no column, e.g. LOSS");
    }
  }
  return absl::OkStatus();
}

absl::Status Check(const v1::QueryHistoryRequest& request) {
  absl::Status status = CheckJobId(request.job_id());
  if (status.ok()) status = CheckColumns(request);
  if (!status.ok()) return status;
  status = CheckMaxPoints(request.max_points());
  if (!status.ok()) return status;
  const v1::SequenceRange& range = request.range();
  if (range.from() < 0 || range.to() < 0 || (range.to() > 0 && range.to() < range.from())) {
    return InvalidField("range", absl::StrCat("is ", range.from(), " to ", range.to(),
                                              "; sequences count from 1, and 0 leaves a side open"));
  }
  return absl::OkStatus();
}

// Where a page begins, and how much a row of it stands for: the same on every page, though less and less is left.
struct Place {
  int64_t next = 1;
  int64_t records_per_row = 0;  // 0: not yet decided, or not thinned

  std::string Text() const { return absl::StrCat(next, "/", records_per_row); }
};

Place ParsePlace(const std::string& text, int64_t first) {
  Place place{.next = first};
  const char* const end = text.data() + text.size();
  const auto next = std::from_chars(text.data(), end, place.next);
  if (next.ec == std::errc() && next.ptr != end) std::from_chars(next.ptr + 1, end, place.records_per_row);
  place.records_per_row = std::clamp<int64_t>(place.records_per_row, 0, kMostRecordsPerRow);
  return place;
}

// Rows that stand for several records, from `place` through `to`.
absl::Status ThinnedPage(Backend& backend, const v1::QueryHistoryRequest& request, Place place, int64_t to,
                         ThinningPlan plan, int32_t page_rows, v1::QueryHistoryResponse& response,
                         std::string& next_place) {
  plan.records_per_row = place.records_per_row;
  plan.segment_rows = std::min(plan.segment_rows, page_rows);
  for (const int column : request.columns()) plan.columns.push_back(static_cast<v1::Column::Standard>(column));
  ThinnedReplay replay(backend.store, request.job_id(), {place.next, to}, std::move(plan), {.events = false});
  int64_t rows = 0;
  size_t bytes = 0;
  for (int reads = 0; !replay.done(); ++reads) {
    absl::StatusOr<std::vector<v1::Segment>> segments = replay.Next();
    if (!segments.ok()) return segments.status();
    // However long a row takes to fill, every page gets on.
    const bool tired = reads == kReads;
    if (tired && segments->empty()) *segments = replay.EndRow();
    for (v1::Segment& segment : *segments) {
      if (rows + segment.count() > page_rows || bytes >= kMaxPageBytes) {
        next_place = place.Text();
        return absl::OkStatus();
      }
      place.next = LastSequence(segment) + 1;
      rows += segment.count();
      bytes += segment.ByteSizeLong();
      *response.add_segments() = std::move(segment);
    }
    place.next = replay.next();
    if (tired) break;
  }
  if (!replay.done()) next_place = place.Text();
  return absl::OkStatus();
}

}  // namespace

absl::Status QueryHistoryPage(Backend& backend, const Caller& caller, const v1::QueryHistoryRequest& request,
                              v1::QueryHistoryResponse& response) {
  absl::Status status = Check(request);
  if (status.ok()) status = FindJob(backend, caller, request.job_id());
  if (!status.ok()) return status;
  v1::QueryHistoryRequest query;
  absl::StatusOr<PageRequest> page = ParsePage(request, query, kRows, kMostRows);
  if (!page.ok()) return page.status();
  Place place = ParsePlace(page->after, std::max<int64_t>(1, request.range().from()));
  const int64_t to = request.range().to() == 0 ? kEnd : request.range().to();
  if (request.max_points() > 0) {
    absl::StatusOr<TelemetryPage> newest = backend.store.ReadTelemetry(request.job_id(), kEnd, /*max_bytes=*/0);
    if (!newest.ok()) return newest.status();
    const StoredRange range{place.next, std::min(to, newest->last_sequence)};
    absl::StatusOr<std::optional<ThinningPlan>> plan =
        PlanReplay(backend.store, request.job_id(), range, request.max_points());
    if (!plan.ok()) return plan.status();
    if (place.records_per_row > 0 && !plan->has_value()) plan->emplace();
    if (plan->has_value()) {
      if (place.records_per_row == 0) place.records_per_row = (*plan)->records_per_row;
      std::string next_place;
      status = ThinnedPage(backend, request, place, range.through, **std::move(plan), page->size, response, next_place);
      if (status.ok() && !next_place.empty()) response.set_next_page_token(EncodePageToken(next_place, query));
      return status;
    }
  }
  int64_t next = place.next;

  v1::WatchFilter filter;
  *filter.mutable_columns() = request.columns();
  int64_t rows = 0;
  size_t bytes = 0;
  for (int reads = 0; next <= to; ++reads) {
    if (rows >= page->size || bytes >= kMaxPageBytes || reads == kReads) {
      response.set_next_page_token(EncodePageToken(Place{.next = next}.Text(), query));
      break;
    }
    absl::StatusOr<TelemetryPage> stored = backend.store.ReadTelemetry(request.job_id(), next, kReadBytes);
    if (!stored.ok()) return stored.status();
    if (stored->segments.empty()) break;
    for (v1::Segment& segment : stored->segments) {
      const int64_t room = page->size - rows;
      if (room <= 0 || next > to) break;
      next = LastSequence(segment) + 1;
      if (segment.has_event()) continue;
      if (segment.has_records()) {
        // One that was thinned in the store goes whole, though it stands for more than was asked for.
        const int64_t taken = std::min<int64_t>(room, RowsThrough(segment, to));
        if (taken < segment.count()) segment = FirstRows(segment, static_cast<int32_t>(taken));
        next = LastSequence(segment) + 1;
      }
      if (!ApplyFilter(filter, segment)) continue;
      rows += segment.count();
      bytes += segment.ByteSizeLong();
      *response.add_segments() = std::move(segment);
    }
  }
  return absl::OkStatus();
}

}  // namespace mantissa::server
