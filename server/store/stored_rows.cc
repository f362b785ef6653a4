#include "server/store/stored_rows.h"

#include <map>

#include "absl/strings/str_cat.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/core/telemetry_segment.h"

namespace mantissa::server {
namespace {

// A run of records ends beyond this.
constexpr size_t kRowBytes = size_t{256} << 10;

}  // namespace

absl::Status ParseJob(std::string_view head, std::string_view specs, v1::Job& job) {
  absl::Status status = ParseRow(head, job);
  if (!status.ok()) return status;
  if (job.MergeFromString(std::string(specs))) return absl::OkStatus();
  return absl::DataLossError("store: a row does not hold the message that it should");
}

absl::StatusOr<AttemptRow> ToAttemptRow(const v1::Attempt& attempt) {
  if (attempt.placements_size() != 1) return absl::InternalError("store: an attempt has exactly one placement");
  v1::Attempt body = attempt;
  body.mutable_placements(0)->clear_token();
  return AttemptRow{body.SerializeAsString(), attempt.placements(0).token()};
}

absl::Status ParseAttempt(std::string_view body, std::string_view token, v1::Attempt& attempt) {
  absl::Status status = ParseRow(body, attempt);
  if (!status.ok()) return status;
  if (attempt.placements_size() != 1) return absl::DataLossError("store: an attempt has no placement");
  attempt.mutable_placements(0)->set_token(std::string(token));
  return status;
}

std::vector<TelemetryRow> ToTelemetryRows(const std::vector<TelemetryWrite>& writes) {
  struct Run {
    int64_t first = 0;
    int64_t last = 0;
    std::string segments;
  };
  std::vector<TelemetryRow> rows;
  auto add = [&](std::string_view job_id, Run& run, int64_t severity) {
    rows.push_back({job_id, run.first, run.last, severity, std::move(run.segments)});
  };

  std::map<std::string_view, Run> open;  // runs of records and gaps that may still grow
  for (const TelemetryWrite& write : writes) {
    const v1::Segment& segment = write.segment;
    auto run = open.find(write.job_id);
    if (run != open.end() && (segment.has_event() || run->second.segments.size() > kRowBytes)) {
      add(write.job_id, run->second, 0);
      open.erase(run);
    }
    if (segment.has_event()) {
      Run event;
      event.first = event.last = segment.first_sequence();
      AppendEncoded(segment, event.segments);
      add(write.job_id, event, segment.event().severity());
      continue;
    }
    Run& row = open[write.job_id];
    if (row.segments.empty()) row.first = segment.first_sequence();
    row.last = segment.first_sequence() + segment.count() - 1;
    AppendEncoded(segment, row.segments);
  }
  for (auto& [job_id, run] : open) add(job_id, run, 0);
  return rows;
}

absl::Status AppendSegments(std::string_view row, int64_t from, std::vector<v1::Segment>& segments) {
  v1::WatchJobResponse message;
  absl::Status status = ParseRow(row, message);
  if (!status.ok()) return status;
  for (v1::Segment& segment : *message.mutable_segments()) {
    if (segment.first_sequence() + segment.count() <= from) continue;
    if (segment.first_sequence() < from) {
      segments.push_back(WithoutFirstRows(segment, static_cast<int32_t>(from - segment.first_sequence())));
    } else {
      segments.push_back(std::move(segment));
    }
  }
  return status;
}

// Attempts follow one another, so the newest entry that is not the server's own belongs to the newest attempt that has
// said anything.
absl::StatusOr<bool> TakeAttemptSequence(std::string_view row, LiveJob& live) {
  v1::WatchJobResponse message;
  absl::Status status = ParseRow(row, message);
  if (!status.ok()) return status;
  for (auto segment = message.segments().rbegin(); segment != message.segments().rend(); ++segment) {
    if (segment->attempt() == 0) continue;
    live.durable_attempt_sequences.push_back({segment->attempt(), LastAttemptSequence(*segment)});
    return true;
  }
  return false;
}

absl::StatusOr<std::pair<std::string_view, std::string_view>> SplitCheckpoint(std::string_view job_and_name) {
  const size_t slash = job_and_name.find('/');
  if (slash == std::string_view::npos) return absl::InternalError("store: a deleted checkpoint is <job id>/<name>");
  return std::pair(job_and_name.substr(0, slash), job_and_name.substr(slash + 1));
}

int64_t ToMicros(const google::protobuf::Timestamp& time) { return time.seconds() * 1'000'000 + time.nanos() / 1'000; }

absl::Status NoSuchJob(std::string_view job_id) {
  return absl::NotFoundError(absl::StrCat("job ", std::string(job_id.substr(0, 64)), " does not exist"));
}

}  // namespace mantissa::server
