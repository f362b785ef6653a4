#include "server/rpc/job/query_history.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "server/core/telemetry_segment.h"
#include "server/rpc/job/read_job.h"
#include "server/rpc/page_token.h"
#include "server/rpc/status.h"
#include "server/telemetry/watch_filter.h"

namespace mantissa::server {
namespace {

constexpr int64_t kEnd = std::numeric_limits<int64_t>::max();
constexpr int64_t kReadBytes = int64_t{256} << 10;
// A page may hold nothing: of a stretch of events this much is read before the client is asked to come again.
constexpr int kReads = 64;
constexpr int32_t kRows = 4'096, kMostRows = 65'536;

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
  if (request.max_points() != 0) {
    return InvalidField("max_points", "thinning a history is not built in this release; leave it out");
  }
  const v1::SequenceRange& range = request.range();
  if (range.from() < 0 || range.to() < 0 || (range.to() > 0 && range.to() < range.from())) {
    return InvalidField("range", absl::StrCat("is ", range.from(), " to ", range.to(),
                                              "; sequences count from 1, and 0 leaves a side open"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status QueryHistoryPage(Backend& backend, const v1::QueryHistoryRequest& request,
                              v1::QueryHistoryResponse& response) {
  absl::Status status = Check(request);
  if (status.ok()) status = FindJob(backend, request.job_id());
  if (!status.ok()) return status;
  v1::QueryHistoryRequest query;
  absl::StatusOr<PageRequest> page = ParsePage(request, query, kRows, kMostRows);
  if (!page.ok()) return page.status();
  int64_t next = std::max<int64_t>(1, request.range().from());
  std::from_chars(page->after.data(), page->after.data() + page->after.size(), next);
  const int64_t to = request.range().to() == 0 ? kEnd : request.range().to();

  v1::WatchFilter filter;
  *filter.mutable_columns() = request.columns();
  int64_t rows = 0;
  size_t bytes = 0;
  for (int reads = 0; next <= to; ++reads) {
    if (rows >= page->size || bytes >= kMaxPageBytes || reads == kReads) {
      response.set_next_page_token(EncodePageToken(std::to_string(next), query));
      break;
    }
    absl::StatusOr<TelemetryPage> stored = backend.store.ReadTelemetry(request.job_id(), next, kReadBytes);
    if (!stored.ok()) return stored.status();
    if (stored->segments.empty()) break;
    for (v1::Segment& segment : stored->segments) {
      const int64_t room = std::min(page->size - rows, to - next + 1);
      if (room <= 0) break;
      next = segment.first_sequence() + segment.count();
      if (segment.has_event()) continue;
      if (segment.has_records() && segment.count() > room) {
        next = segment.first_sequence() + room;
        segment = FirstRows(segment, static_cast<int32_t>(room));
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
