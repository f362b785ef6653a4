// What an attempt has said and the server has not yet acknowledged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <utility>

#include "absl/status/status.h"

#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::agent {

// Entries in order of attempt_sequence, contiguous from the first to the last: a hole in what comes in becomes an
// explicit gap. Bounded in bytes: beyond the bound the oldest records that are not on their way coalesce into gaps that
// sum them up, events only when that was not enough. Not thread-safe.
class TelemetryBuffer {
 public:
  TelemetryBuffer(std::int32_t attempt, std::size_t max_bytes) : attempt_(attempt), max_bytes_(max_bytes) {}

  // What the trainer sent. A repetition is dropped; a malformed segment becomes a gap.
  void Append(v1::Segment segment);
  // What was wrong with the last malformed segment since the last call; OK: there was none.
  absl::Status TakeFault() { return std::exchange(fault_, absl::OkStatus()); }

  // Everything up to here is stored.
  void Acknowledge(std::int64_t through);

  // A new stream: the server has everything up to `high_water`, and what comes after it is to be sent again.
  void Rewind(std::int64_t high_water);

  // The server took what was sent and not acknowledged for nonsense. At the next Rewind it becomes a gap: sent again as
  // it is, it would be refused for ever.
  void Refused() { refused_ = true; }

  // The next entries to send, within both limits, but at least one segment. They count as sent from here on.
  google::protobuf::RepeatedPtrField<v1::Segment> Take(int max_rows, std::size_t max_bytes = std::size_t{1} << 20);

  std::int64_t last_sequence() const { return next_sequence_ - 1; }
  std::int64_t acknowledged() const { return acknowledged_; }
  std::size_t bytes() const { return bytes_; }
  std::size_t sent_bytes() const { return sent_bytes_; }  // on their way
  int unsent_rows() const { return unsent_rows_; }
  bool empty() const { return entries_.empty(); }
  std::int64_t gaps_made() const { return gaps_made_; }

 private:
  struct Entry {
    v1::Segment segment;
    std::size_t bytes = 0;
  };

  void Push(v1::Segment segment);
  void Coalesce();
  void CoalesceUnsent(std::size_t target, bool events_too);
  void FoldSent();
  void DropFront();

  const std::int32_t attempt_;
  const std::size_t max_bytes_;
  std::deque<Entry> entries_;
  std::size_t sent_ = 0;  // how many of entries_, from the front, are on their way
  std::size_t bytes_ = 0;
  std::size_t sent_bytes_ = 0;
  int unsent_rows_ = 0;
  std::int64_t next_sequence_ = 1;  // of the next entry the trainer gives
  std::int64_t acknowledged_ = 0;
  std::int64_t gaps_made_ = 0;
  bool refused_ = false;
  absl::Status fault_;
};

}  // namespace mantissa::agent
