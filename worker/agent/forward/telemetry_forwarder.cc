#include "worker/agent/forward/telemetry_forwarder.h"

#include <algorithm>
#include <utility>

#include "process/log.h"

namespace mantissa::agent {

using process::SteadyTime;

TelemetryForwarder::TelemetryForwarder(TelemetryOptions options, ServerLink& link, Inbox& inbox)
    : options_(options),
      stream_([&link](auto events) { return link.OpenTelemetry(std::move(events)); },
              {.opened = [this] { OnOpened(); },
               .received = [this](const auto& response) { OnReceived(response); },
               .closed = [this](const absl::Status& status) { OnClosed(status); }},
              inbox) {}

void TelemetryForwarder::Open(const v1::AttemptRef& ref, const std::string& trace_id) {
  sources_.try_emplace(KeyOf(ref), ref, trace_id, options_.max_buffered_bytes);
}

std::int64_t TelemetryForwarder::Append(const AttemptKey& key, v1::TelemetryBatch batch) {
  const auto found = sources_.find(key);
  if (found == sources_.end()) return 0;
  TelemetryBuffer& buffer = found->second.buffer;
  if (found->second.unwanted) return buffer.last_sequence();
  const std::int64_t gaps = buffer.gaps_made();
  for (v1::Segment& segment : *batch.mutable_segments()) buffer.Append(std::move(segment));
  if (const absl::Status fault = buffer.TakeFault(); !fault.ok()) {
    process::Log(
        process::Level::kError, "a trainer sent telemetry that makes no sense",
        {{"job", key.job_id}, {"attempt", key.attempt}, {"trace_id", found->second.trace_id}, {"error", fault}});
  }
  counts_.gaps += buffer.gaps_made() - gaps;
  return buffer.last_sequence();
}

void TelemetryForwarder::Complete(const AttemptKey& key) {
  const auto found = sources_.find(key);
  if (found != sources_.end()) found->second.complete = true;
}

void TelemetryForwarder::Close(const AttemptKey& key, SteadyTime now) {
  const auto found = sources_.find(key);
  if (found == sources_.end()) return;
  found->second.drop_at = now + options_.after_close;
}

void TelemetryForwarder::Tick(SteadyTime now) {
  std::erase_if(sources_, [now](const auto& entry) {
    const Source& source = entry.second;
    const bool closed = source.drop_at != SteadyTime::max();
    return closed && (source.unwanted || source.buffer.empty() || now >= source.drop_at);
  });
  stream_.Tick(Wanted(), now);
  while (stream_.Ready() && WriteOne(now)) {
  }
}

SteadyTime TelemetryForwarder::NextDeadline() const {
  SteadyTime next = stream_.NextDeadline(Wanted());
  for (const auto& [key, source] : sources_) {
    next = std::min(next, source.drop_at);
    if (source.drop_at != SteadyTime::max() && source.buffer.empty()) return SteadyTime::min();
    if (!stream_.Ready() || source.unwanted) continue;
    if (!source.open_sent) return SteadyTime::min();
    if (source.opened && source.buffer.unsent_rows() > 0 && source.buffer.sent_bytes() < options_.max_sent_bytes) {
      next = std::min(next, DueAt(source));
    }
  }
  return next;
}

bool TelemetryForwarder::Drained() const {
  return std::all_of(sources_.begin(), sources_.end(),
                     [](const auto& entry) { return entry.second.unwanted || entry.second.buffer.empty(); });
}

std::size_t TelemetryForwarder::buffered_bytes() const {
  std::size_t bytes = 0;
  for (const auto& [key, source] : sources_) bytes += source.buffer.bytes();
  return bytes;
}

bool TelemetryForwarder::Wanted() const {
  return std::any_of(sources_.begin(), sources_.end(), [](const auto& entry) { return !entry.second.unwanted; });
}

// At most one write; false when there is nothing to write now.
bool TelemetryForwarder::WriteOne(SteadyTime now) {
  for (auto& [key, source] : sources_) {
    if (source.open_sent || source.unwanted) continue;
    source.open_sent = true;
    v1::PublishTelemetryRequest request;
    *request.mutable_open() = source.ref;
    stream_.Write(request);
    return true;
  }
  // The first that may send after the one that sent last, round the map.
  auto next = sources_.upper_bound(last_written_);
  for (std::size_t i = 0; i < sources_.size(); ++i, ++next) {
    if (next == sources_.end()) next = sources_.begin();
    Source& source = next->second;
    if (!MaySend(source, now)) continue;
    source.last_batch = now;
    last_written_ = next->first;
    v1::PublishTelemetryRequest request;
    *request.mutable_attempt() = source.ref;
    *request.mutable_segments() = source.buffer.Take(options_.max_batch_rows);
    stream_.Write(request);
    return true;
  }
  return false;
}

SteadyTime TelemetryForwarder::DueAt(const Source& source) const {
  const bool at_once = source.complete || source.buffer.unsent_rows() >= options_.max_batch_rows ||
                       source.last_batch == SteadyTime::min();
  return at_once ? SteadyTime::min() : source.last_batch + options_.batch_interval;
}

bool TelemetryForwarder::MaySend(const Source& source, SteadyTime now) const {
  if (!source.opened || source.unwanted || source.buffer.unsent_rows() == 0) return false;
  return source.buffer.sent_bytes() < options_.max_sent_bytes && now >= DueAt(source);
}

void TelemetryForwarder::OnOpened() {
  for (auto& [key, source] : sources_) source.open_sent = source.opened = false;
}

void TelemetryForwarder::OnReceived(const v1::PublishTelemetryResponse& response) {
  const auto found = sources_.find(AttemptKey{response.job_id(), response.attempt()});
  if (found == sources_.end()) return;
  Source& source = found->second;
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
    for (auto& [key, source] : sources_) source.buffer.Refused();
  } else {
    process::Log(process::Level::kDebug, "the telemetry stream ended", {{"error", status}});
  }
}

}  // namespace mantissa::agent
