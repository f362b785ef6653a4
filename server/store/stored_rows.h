// What the rows of a store in SQL hold, whichever database keeps them: serialised messages, each cut one way.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"
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

// A run of records and gaps, or exactly one event. `segments` is a message whose field 1 is `repeated Segment`.
struct TelemetryRow {
  std::string_view job_id;  // of the write that it came from
  int64_t first_sequence = 0;
  int64_t last_sequence = 0;
  int64_t severity = 0;  // of events only
  std::string segments;
};
std::vector<TelemetryRow> ToTelemetryRows(const std::vector<TelemetryWrite>& writes);
// Appends a row's segments from sequence `from` on; the one that `from` lies in is cut.
absl::Status AppendSegments(std::string_view row, int64_t from, std::vector<v1::Segment>& segments);
// Takes what Scheduler::Load must know from a job's rows, newest first. True: the row had it, and older ones are of no
// use.
absl::StatusOr<bool> TakeAttemptSequence(std::string_view row, LiveJob& live);

// Job and name of a deleted checkpoint, "<job id>/<checkpoint name>"; INTERNAL without a slash.
absl::StatusOr<std::pair<std::string_view, std::string_view>> SplitCheckpoint(std::string_view job_and_name);

int64_t ToMicros(const google::protobuf::Timestamp& time);

absl::Status NoSuchJob(std::string_view job_id);

}  // namespace mantissa::server
