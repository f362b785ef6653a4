// What the rows of a store in SQL hold, whichever database keeps them: serialised messages, each cut one way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/report.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "process/mutex.h"
#include "server/core/changes.h"
#include "server/core/scheduler.h"

namespace mantissa::server {

// DATA_LOSS when the bytes are no such message.
template <typename Message>
absl::Status ParseRow(std::string_view bytes, Message& message) {
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::OkStatus();
  return absl::DataLossError("store: a row does not hold the message that it should");
}

// `head`: a job without its specs, written at every change; `specs`: its specs alone, written once.
absl::Status ParseJob(std::string_view head, std::string_view specs, v1::Job& job);

// The token has a column of its own, so that no read shows it by mistake.
struct AttemptRow {
  std::string body;
  std::string token;
};
// INTERNAL without exactly one placement.
absl::StatusOr<AttemptRow> ToAttemptRow(const v1::Attempt& attempt);
// With the token.
absl::Status ParseAttempt(std::string_view body, std::string_view token, v1::Attempt& attempt);

// A report's bytes as they are stored, compressed: its tables repeat themselves.
std::string ToReportRow(const std::string& report);
// DATA_LOSS, naming the job, for bytes that are damaged.
absl::StatusOr<v1::Report> ParseReport(std::string_view job_id, std::string_view row);

// A run of records and gaps, or exactly one event. `segments` is a message whose field 1 is `repeated Segment`.
struct TelemetryRow {
  std::string_view job_id;  // of the write that it came from
  int64_t first_sequence = 0;
  int64_t last_sequence = 0;
  int64_t severity = 0;  // of events only
  std::string segments;
};
std::vector<TelemetryRow> ToTelemetryRows(const std::vector<TelemetryWrite>& writes);
// One row of a job's telemetry as it is stored: a message, or a chunk (Note [Telemetry chunks]).
struct StoredTelemetry {
  std::string_view job_id;
  int64_t first_sequence = 0;
  std::string_view bytes;
};

// The last few chunks that were read, as segments: a watch takes a chunk a few hundred rows at a time, and reads it
// again for each. Thread-safe.
class RecentChunks {
 public:
  using Segments = std::shared_ptr<const std::vector<v1::Segment>>;

  // Null: it is not among them.
  Segments Find(const StoredTelemetry& row);
  void Keep(const StoredTelemetry& row, Segments segments);

 private:
  struct Entry {
    std::string key;
    Segments segments;
  };
  static constexpr size_t kMost = 4;  // about a megabyte each

  process::Mutex mutex_;
  std::deque<Entry> entries_ ABSL_GUARDED_BY(mutex_);  // the newest first
};

// Gathers a page of a job's telemetry from rows that come in the order of their first sequences: what they hold from
// sequence `from` on, about `max_bytes` of it as it is when encoded, and at least one segment. Not thread-safe.
class TelemetryRows {
 public:
  static constexpr int64_t kAll = std::numeric_limits<int64_t>::max();

  TelemetryRows(int64_t from, int64_t max_bytes, RecentChunks& recent)
      : from_(from), max_bytes_(max_bytes), recent_(recent) {}

  // Whether a row that begins there belongs to the page. Of a full one only events do that lie in what it holds.
  bool Wants(int64_t first_sequence) const {
    return through_ == 0 || bytes_ < max_bytes_ || first_sequence <= through_;
  }
  // DATA_LOSS, naming the row, for bytes that are damaged.
  absl::Status Add(const StoredTelemetry& row);
  // Where what was taken of chunks ends; 0 without one. Events up to there belong to the page.
  int64_t chunks_through() const { return chunks_through_; }
  // In the order of their sequences.
  std::vector<v1::Segment> Take();

 private:
  const int64_t from_;
  const int64_t max_bytes_;
  RecentChunks& recent_;
  std::vector<v1::Segment> segments_;
  int64_t bytes_ = 0;
  int64_t through_ = 0;  // where the page ends; 0 while it is empty
  int64_t chunks_through_ = 0;
};

// Takes what Scheduler::Load must know from a job's rows, newest first. True: the row had it, and older ones are of no
// use.
absl::StatusOr<bool> TakeAttemptSequence(const StoredTelemetry& row, LiveJob& live);

// Job and name of a deleted checkpoint, "<job id>/<checkpoint name>"; INTERNAL without a slash.
absl::StatusOr<std::pair<std::string_view, std::string_view>> SplitCheckpoint(std::string_view job_and_name);

absl::Status NoSuchJob(std::string_view job_id);

}  // namespace mantissa::server
