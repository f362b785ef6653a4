#include "server/store/stored_rows.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"

#include "mantissa/v1/job_service.pb.h"
#include "proto/spec/study_report.h"
#include "server/core/telemetry_segment.h"
#include "server/store/packed_bytes.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server {
namespace {

// A run of records ends beyond this.
constexpr size_t kRowBytes = size_t{256} << 10;

absl::StatusOr<std::vector<v1::Segment>> SegmentsOf(const StoredTelemetry& row) {
  std::vector<v1::Segment> segments;
  absl::Status status;
  if (IsTelemetryChunk(row.bytes)) {
    status = DecodeTelemetryChunk(row.bytes, segments);
  } else {
    v1::WatchJobResponse message;
    status = ParseRow(row.bytes, message);
    segments.assign(std::make_move_iterator(message.mutable_segments()->begin()),
                    std::make_move_iterator(message.mutable_segments()->end()));
  }
  if (status.ok()) return segments;
  const auto text = [](std::string_view part) { return absl::string_view(part.data(), part.size()); };
  return absl::Status(status.code(), absl::StrCat(status.message(), " (job ", text(row.job_id), ", sequence ",
                                                  row.first_sequence, ")"));
}

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

std::string ToReportRow(const std::string& report) { return Compress(report); }

absl::StatusOr<v1::Report> ParseReport(std::string_view job_id, std::string_view row) {
  std::string bytes;
  v1::Report report;
  if (Decompress(row, spec::kMaxReportBytes, bytes) && report.ParseFromString(bytes)) return report;
  return absl::DataLossError(absl::StrCat("store: the report of job ", std::string(job_id), " is damaged"));
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
    row.last = LastSequence(segment);
    AppendEncoded(segment, row.segments);
  }
  for (auto& [job_id, run] : open) add(job_id, run, 0);
  return rows;
}

namespace {

// Chunks are not written twice; the end of one is a sum over all of it.
std::string KeyOf(const StoredTelemetry& row) {
  constexpr size_t kTail = 16;
  std::string key(row.job_id);
  absl::StrAppend(&key, "/", row.first_sequence, "/", row.bytes.size(), "/");
  return key.append(row.bytes.substr(row.bytes.size() - std::min(kTail, row.bytes.size())));
}

}  // namespace

RecentChunks::Segments RecentChunks::Find(const StoredTelemetry& row) {
  const std::string key = KeyOf(row);
  process::MutexLock lock(mutex_);
  for (const Entry& entry : entries_) {
    if (entry.key == key) return entry.segments;
  }
  return nullptr;
}

void RecentChunks::Keep(const StoredTelemetry& row, Segments segments) {
  Entry entry{KeyOf(row), std::move(segments)};
  process::MutexLock lock(mutex_);
  entries_.push_front(std::move(entry));
  if (entries_.size() > kMost) entries_.pop_back();
}

absl::Status TelemetryRows::Add(const StoredTelemetry& row) {
  const bool is_chunk = IsTelemetryChunk(row.bytes);
  RecentChunks::Segments stored = is_chunk ? recent_.Find(row) : nullptr;
  if (stored == nullptr) {
    absl::StatusOr<std::vector<v1::Segment>> read = SegmentsOf(row);
    if (!read.ok()) return read.status();
    stored = std::make_shared<const std::vector<v1::Segment>>(*std::move(read));
    if (is_chunk) recent_.Keep(row, stored);
  }
  for (const v1::Segment& segment : *stored) {
    if (LastSequence(segment) < from_) continue;
    if (!Wants(segment.first_sequence())) break;
    segments_.push_back(segment.first_sequence() < from_ ? FromSequence(segment, from_) : segment);
    bytes_ += static_cast<int64_t>(segments_.back().ByteSizeLong());
    through_ = std::max(through_, LastSequence(segment));
  }
  if (is_chunk) chunks_through_ = through_;
  return absl::OkStatus();
}

std::vector<v1::Segment> TelemetryRows::Take() {
  // An event that lies in a chunk comes behind it.
  const auto before = [](const v1::Segment& a, const v1::Segment& b) {
    return a.first_sequence() < b.first_sequence();
  };
  if (!std::is_sorted(segments_.begin(), segments_.end(), before)) {
    std::stable_sort(segments_.begin(), segments_.end(), before);
  }
  return std::move(segments_);
}

// Attempts follow one another, so the newest entry that is not the server's own belongs to the newest attempt that has
// said anything.
absl::StatusOr<bool> TakeAttemptSequence(const StoredTelemetry& row, LiveJob& live) {
  const absl::StatusOr<std::vector<v1::Segment>> segments = SegmentsOf(row);
  if (!segments.ok()) return segments.status();
  for (auto segment = segments->rbegin(); segment != segments->rend(); ++segment) {
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

absl::Status NoSuchJob(std::string_view job_id) {
  return absl::NotFoundError(absl::StrCat("job ", std::string(job_id.substr(0, 64)), " does not exist"));
}

}  // namespace mantissa::server
