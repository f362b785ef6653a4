#include "worker/agent/forward/telemetry_forwarder.h"

#include <algorithm>
#include <utility>

#include "process/log.h"

namespace mantissa::agent {

using process::SteadyTime;

SteadyTime TelemetryForwarder::Source::DueAt() const {
  if (buffer.unsent_rows() == 0 || buffer.sent_bytes() >= options.max_sent_bytes) return SteadyTime::max();
  const bool at_once = complete || buffer.unsent_rows() >= options.max_batch_rows || last_batch == SteadyTime::min();
  return at_once ? SteadyTime::min() : last_batch + options.batch_interval;
}

v1::PublishTelemetryRequest TelemetryForwarder::Source::Open() const {
  v1::PublishTelemetryRequest request;
  *request.mutable_open() = ref;
  return request;
}

v1::PublishTelemetryRequest TelemetryForwarder::Source::Next(SteadyTime now) {
  last_batch = now;
  v1::PublishTelemetryRequest request;
  *request.mutable_attempt() = ref;
  *request.mutable_segments() = buffer.Take(options.max_batch_rows);
  return request;
}

TelemetryForwarder::TelemetryForwarder(TelemetryOptions options, ServerLink& link, Inbox& inbox)
    : options_(options),
      stream_([&link](auto events) { return link.OpenTelemetry(std::move(events)); },
              {.opened = [this] { sources_.Reopen(); },
               .received = [this](const auto& response) { OnReceived(response); },
               .closed = [this](const absl::Status& status) { OnClosed(status); }},
              inbox) {}

void TelemetryForwarder::Open(const v1::AttemptRef& ref, const std::string& trace_id) {
  sources_.Add(KeyOf(ref), ref, trace_id, options_);
}

std::int64_t TelemetryForwarder::Append(const AttemptKey& key, v1::TelemetryBatch batch) {
  Source* const source = sources_.Find(key);
  if (source == nullptr) return 0;
  TelemetryBuffer& buffer = source->buffer;
  if (source->unwanted) return buffer.last_sequence();
  const std::int64_t gaps = buffer.gaps_made();
  for (v1::Segment& segment : *batch.mutable_segments()) buffer.Append(std::move(segment));
  if (const absl::Status fault = buffer.TakeFault(); !fault.ok()) {
    process::Log(process::Level::kError, "a trainer sent telemetry that makes no sense",
                 {{"job", key.job_id}, {"attempt", key.attempt}, {"trace_id", source->trace_id}, {"error", fault}});
  }
  counts_.gaps += buffer.gaps_made() - gaps;
  return buffer.last_sequence();
}

void TelemetryForwarder::Complete(const AttemptKey& key) {
  if (Source* const source = sources_.Find(key)) source->complete = true;
}

void TelemetryForwarder::Close(const AttemptKey& key, SteadyTime now) {
  if (Source* const source = sources_.Find(key)) source->drop_at = now + options_.after_close;
}

void TelemetryForwarder::Tick(SteadyTime now) {
  sources_.DropClosed(now);
  stream_.Tick(sources_.Wanted(), now);
  sources_.WriteTo(stream_, now);
}

SteadyTime TelemetryForwarder::NextDeadline() const {
  return std::min(stream_.NextDeadline(sources_.Wanted()), sources_.NextDeadline(stream_.Ready()));
}

std::size_t TelemetryForwarder::buffered_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [key, source] : sources_.all()) bytes += source.buffer.bytes();
  return bytes;
}

void TelemetryForwarder::OnReceived(const v1::PublishTelemetryResponse& response) {
  Source* const found = sources_.Find(AttemptKey{response.job_id(), response.attempt()});
  if (found == nullptr) return;
  Source& source = *found;
  if (response.lease_lost()) {
    source.unwanted = true;
    source.buffer.Acknowledge(source.buffer.last_sequence());  // nobody will ask for it again
    return;
  }
  const std::int64_t before = source.buffer.acknowledged();
  if (!std::exchange(source.opened, true)) {
    source.buffer.Rewind(response.durable_through());
  } else {
    source.buffer.Acknowledge(response.durable_through());
  }
  counts_.acknowledged += source.buffer.acknowledged() - before;
}

void TelemetryForwarder::OnClosed(const absl::Status& status) {
  if (absl::IsInvalidArgument(status)) {
    process::Log(process::Level::kError, "the server refused telemetry", {{"error", status}});
    for (auto& [key, source] : sources_.all()) source.buffer.Refused();
  } else {
    process::Log(process::Level::kDebug, "the telemetry stream ended", {{"error", status}});
  }
}

}  // namespace mantissa::agent
