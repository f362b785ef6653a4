#include "worker/trainer/report/telemetry_sink.h"

#include <algorithm>
#include <utility>

#include "worker/trainer/report/precision_message.h"

namespace mantissa::trainer {
namespace {

constexpr std::chrono::seconds kHeartbeat(1);

// `into` covers what came before `more`.
void Merge(v1::GapSummary& into, const v1::GapSummary& more) {
  into.set_events(into.events() + more.events());
  if (more.records() == 0) return;
  if (into.records() == 0) into.set_first_iteration(more.first_iteration());
  into.set_last_iteration(more.last_iteration());
  into.set_records(into.records() + more.records());
  into.set_skipped_iterations(into.skipped_iterations() + more.skipped_iterations());
  into.set_last_loss(more.last_loss());
  if (more.has_min_loss()) {
    into.set_min_loss(into.has_min_loss() ? std::min(into.min_loss(), more.min_loss()) : more.min_loss());
    into.set_max_loss(into.has_max_loss() ? std::max(into.max_loss(), more.max_loss()) : more.max_loss());
  }
}

}  // namespace

void TelemetrySink::Write(const IterationRecord& record, process::SteadyTime now) {
  iteration_ = static_cast<std::int32_t>(record.iteration);
  step_ = static_cast<std::int32_t>(record.step);
  if (record.applied && record.iteration % options_.every_iterations != 0) return;
  if (rows_.rows() == 0) first_row_time_ = now;
  rows_.Add(record);
  ++next_sequence_;
  // The first record goes out alone: somebody is waiting to see the job begin.
  if (rows_.rows() >= options_.max_rows || !any_sent_) SendRows();
}

void TelemetrySink::Write(v1::JobEvent event) {
  SendRows();
  const std::int64_t sequence = next_sequence_++;
  v1::Segment segment;
  segment.set_first_attempt_sequence(sequence);
  segment.set_count(1);
  *segment.mutable_event() = std::move(event);
  if (SendGap() && SendSegment(std::move(segment))) return;
  v1::GapSummary lost;
  lost.set_events(1);
  Lose(sequence, sequence, lost);
}

void TelemetrySink::Tick(process::SteadyTime now, const PrecisionMonitor* monitor) {
  if (rows_.rows() > 0 && now - first_row_time_ >= options_.max_age) SendRows();
  channel_.Flush();
  if (now - last_heartbeat_ < kHeartbeat || !channel_.has_room()) return;
  last_heartbeat_ = now;
  Heartbeat(monitor);
}

void TelemetrySink::Heartbeat(const PrecisionMonitor* monitor) {
  v1::TrainerReport report;
  v1::TrainerHeartbeat& heartbeat = *report.mutable_heartbeat();
  heartbeat.set_iteration(iteration_);
  heartbeat.set_step(step_);
  if (monitor != nullptr) {
    const PrecisionStats stats = monitor->stats();
    if (stats.iterations > 0) *heartbeat.mutable_precision() = PrecisionMessage(stats, options_.scaled);
  }
  channel_.Send(report);
}

void TelemetrySink::Finish() {
  SendRows();
  if (SendGap()) return;
  // Waiting holds nothing up any more, and without its gap the end would leave a hole in the numbers.
  channel_.Drain();
  SendGap();
}

void TelemetrySink::SendRows() {
  const std::int32_t count = rows_.rows();
  if (count == 0) return;
  any_sent_ = true;
  const std::int64_t first = next_sequence_ - count;
  if (!channel_.has_room() || !SendGap()) {
    Lose(first, next_sequence_ - 1, rows_.Summary());
    rows_.Clear();
    return;
  }
  const v1::GapSummary summary = rows_.Summary();
  v1::Segment segment;
  segment.set_first_attempt_sequence(first);
  segment.set_count(count);
  *segment.mutable_records() = rows_.Take();
  if (!SendSegment(std::move(segment))) Lose(first, first + count - 1, summary);
}

bool TelemetrySink::SendSegment(v1::Segment segment) {
  segment.set_attempt(options_.attempt);
  v1::TrainerReport report;
  *report.mutable_telemetry()->add_segments() = std::move(segment);
  return channel_.Send(report);
}

bool TelemetrySink::SendGap() {
  if (!gap_) return true;
  v1::Segment segment;
  segment.set_first_attempt_sequence(gap_->from());
  segment.set_count(1);
  *segment.mutable_gap() = *gap_;
  if (!SendSegment(std::move(segment))) return false;
  gap_.reset();
  return true;
}

void TelemetrySink::Lose(std::int64_t first, std::int64_t last, const v1::GapSummary& summary) {
  if (!gap_) {
    gap_.emplace();
    gap_->set_from(first);
    gap_->set_reason("the worker did not read as fast as the trainer wrote");
  }
  gap_->set_to(last);
  Merge(*gap_->mutable_summary(), summary);
}

}  // namespace mantissa::trainer
