#include "worker/agent/forward/telemetry_buffer.h"

#include <algorithm>
#include <utility>

#include "worker/agent/forward/telemetry_segment.h"

namespace mantissa::agent {
namespace {

constexpr char kBufferFull[] = "BUFFER_FULL";
constexpr char kMissing[] = "MISSING";
constexpr char kMalformed[] = "MALFORMED";
constexpr char kRefused[] = "REFUSED";

// What a segment costs beyond its encoded bytes.
constexpr std::size_t kEntryOverheadBytes = 256;

}  // namespace

void TelemetryBuffer::Append(v1::Segment segment) {
  segment.set_attempt(attempt_);
  segment.set_first_sequence(0);
  if (absl::Status checked = CheckSegment(segment); !checked.ok()) {
    fault_ = std::move(checked);
    segment = MakeGap(attempt_, segment.first_attempt_sequence(), LastAttemptSequence(segment), kMalformed, {});
    if (!CheckSegment(segment).ok()) return;  // not even its place is known: it shows as a hole, later
    ++gaps_made_;
  }
  const std::int64_t first = segment.first_attempt_sequence();
  if (LastAttemptSequence(segment) < next_sequence_) return;
  if (first < next_sequence_) {
    // Overlaps what is here already: never from a trainer of ours. What is new of it is known to have existed.
    segment = MakeGap(attempt_, next_sequence_, LastAttemptSequence(segment), kMalformed, Summarize(segment));
  } else if (first > next_sequence_) {
    Push(MakeGap(attempt_, next_sequence_, first - 1, kMissing, {}));
    ++gaps_made_;
  }
  Push(std::move(segment));
  if (bytes_ > max_bytes_) Coalesce();
}

void TelemetryBuffer::Acknowledge(std::int64_t through) {
  acknowledged_ = std::max(acknowledged_, through);
  while (!entries_.empty() && LastAttemptSequence(entries_.front().segment) <= acknowledged_) DropFront();
}

void TelemetryBuffer::Rewind(std::int64_t high_water) {
  Acknowledge(high_water);
  if (refused_ && sent_ > 0) FoldSent();
  refused_ = false;
  for (std::size_t i = 0; i < sent_; ++i) unsent_rows_ += entries_[i].segment.count();
  sent_ = 0;
  sent_bytes_ = 0;
  if (entries_.empty()) {
    // A server that knows more than this agent ever had: another one speaks of the same attempt, or a restored backup.
    next_sequence_ = std::max(next_sequence_, high_water + 1);
    return;
  }
  v1::Segment& front = entries_.front().segment;
  const std::int64_t first = front.first_attempt_sequence();
  if (front.has_gap() && first <= high_water) {
    // The server had part of what became this gap.
    front.set_first_attempt_sequence(high_water + 1);
    front.mutable_gap()->set_from(high_water + 1);
  } else if (first > high_water + 1) {
    // The server lost what it had acknowledged.
    v1::Segment gap = MakeGap(attempt_, high_water + 1, first - 1, kMissing, {});
    const std::size_t bytes = gap.ByteSizeLong() + kEntryOverheadBytes;
    entries_.push_front({std::move(gap), bytes});
    bytes_ += bytes;
    unsent_rows_ += 1;
    ++gaps_made_;
  }
}

google::protobuf::RepeatedPtrField<v1::Segment> TelemetryBuffer::Take(int max_rows, std::size_t max_bytes) {
  google::protobuf::RepeatedPtrField<v1::Segment> batch;
  int rows = 0;
  std::size_t bytes = 0;
  while (sent_ < entries_.size()) {
    const Entry& entry = entries_[sent_];
    if (rows > 0 && (rows + entry.segment.count() > max_rows || bytes + entry.bytes > max_bytes)) break;
    rows += entry.segment.count();
    bytes += entry.bytes;
    *batch.Add() = entry.segment;
    sent_bytes_ += entry.bytes;
    ++sent_;
  }
  unsent_rows_ -= rows;
  return batch;
}

void TelemetryBuffer::Push(v1::Segment segment) {
  next_sequence_ = LastAttemptSequence(segment) + 1;
  const std::size_t bytes = segment.ByteSizeLong() + kEntryOverheadBytes;
  unsent_rows_ += segment.count();
  bytes_ += bytes;
  entries_.push_back({std::move(segment), bytes});
}

void TelemetryBuffer::Coalesce() {
  // Well below the bound, so that the work is done rarely.
  const std::size_t target = max_bytes_ / 4 * 3;
  CoalesceUnsent(target, /*events_too=*/false);
  if (bytes_ > target) CoalesceUnsent(target, /*events_too=*/true);
}

// Turns entries that are not on their way into gaps, oldest first, and neighbouring gaps into one.
void TelemetryBuffer::CoalesceUnsent(std::size_t target, bool events_too) {
  std::deque<Entry> kept;
  std::size_t bytes = bytes_;
  for (std::size_t i = sent_; i < entries_.size(); ++i) {
    Entry entry = std::move(entries_[i]);
    const bool foldable = entry.segment.has_records() || entry.segment.has_gap() || events_too;
    if (bytes <= target || !foldable) {
      kept.push_back(std::move(entry));
      continue;
    }
    const std::int64_t from = entry.segment.first_attempt_sequence();
    const std::int64_t to = LastAttemptSequence(entry.segment);
    bytes -= entry.bytes;
    if (!kept.empty() && kept.back().segment.has_gap()) {
      bytes -= kept.back().bytes;
      const v1::Gap& before = kept.back().segment.gap();
      entry.segment =
          MakeGap(attempt_, before.from(), to, kBufferFull, Merge(before.summary(), Summarize(entry.segment)));
      kept.pop_back();
    } else {
      gaps_made_ += entry.segment.has_gap() ? 0 : 1;
      entry.segment = MakeGap(attempt_, from, to, kBufferFull, Summarize(entry.segment));
    }
    entry.bytes = entry.segment.ByteSizeLong() + kEntryOverheadBytes;
    bytes += entry.bytes;
    kept.push_back(std::move(entry));
  }
  entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(sent_), entries_.end());
  unsent_rows_ = 0;
  for (Entry& entry : kept) {
    unsent_rows_ += entry.segment.count();
    entries_.push_back(std::move(entry));
  }
  bytes_ = bytes;
}

void TelemetryBuffer::FoldSent() {
  v1::GapSummary summary;
  for (std::size_t i = 0; i < sent_; ++i) summary = Merge(summary, Summarize(entries_[i].segment));
  const std::int64_t from = entries_.front().segment.first_attempt_sequence();
  const std::int64_t to = LastAttemptSequence(entries_[sent_ - 1].segment);
  while (sent_ > 0) DropFront();
  v1::Segment gap = MakeGap(attempt_, from, to, kRefused, summary);
  const std::size_t bytes = gap.ByteSizeLong() + kEntryOverheadBytes;
  entries_.push_front({std::move(gap), bytes});
  bytes_ += bytes;
  unsent_rows_ += 1;
  ++gaps_made_;
}

void TelemetryBuffer::DropFront() {
  const Entry& front = entries_.front();
  bytes_ -= front.bytes;
  if (sent_ > 0) {
    --sent_;
    sent_bytes_ -= front.bytes;
  } else {
    unsent_rows_ -= front.segment.count();
  }
  entries_.pop_front();
}

}  // namespace mantissa::agent
