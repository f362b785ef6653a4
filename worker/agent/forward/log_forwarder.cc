#include "worker/agent/forward/log_forwarder.h"

#include <algorithm>
#include <string_view>

#include "process/log.h"

namespace mantissa::agent {

using process::SteadyTime;

LogForwarder::LogForwarder(LogOptions options, ServerLink& link, Inbox& inbox)
    : options_(options),
      stream_([&link](auto events) { return link.OpenLogs(std::move(events)); },
              {.opened =
                   [this] {
                     for (auto& [key, source] : sources_) source.open_sent = source.opened = false;
                   },
               .received = [this](const auto& response) { OnReceived(response); },
               .closed =
                   [](const absl::Status& status) {
                     process::Log(process::Level::kDebug, "the log stream ended", {{"error", status}});
                   }},
              inbox) {}

void LogForwarder::Append(const v1::AttemptRef& ref, v1::LogStream::Name stream, std::string_view bytes) {
  Source& source = sources_.try_emplace(SourceKey{KeyOf(ref), stream}, ref, options_.max_buffered_bytes).first->second;
  if (!source.unwanted) source.buffer.Append(bytes);
}

void LogForwarder::Close(const AttemptKey& key, SteadyTime now) {
  for (auto& [source_key, source] : sources_) {
    if (source_key.first == key) source.drop_at = now + options_.after_close;
  }
}

void LogForwarder::Tick(SteadyTime now) {
  std::erase_if(sources_, [now](const auto& entry) {
    const Source& source = entry.second;
    const bool closed = source.drop_at != SteadyTime::max();
    return closed && (source.unwanted || source.buffer.empty() || now >= source.drop_at);
  });
  stream_.Tick(Wanted(), now);
  while (stream_.Ready() && WriteOne(now)) {
  }
}

SteadyTime LogForwarder::NextDeadline() const {
  SteadyTime next = stream_.NextDeadline(Wanted());
  for (const auto& [key, source] : sources_) {
    next = std::min(next, source.drop_at);
    if (source.drop_at != SteadyTime::max() && source.buffer.empty()) return SteadyTime::min();
    if (!stream_.Ready() || source.unwanted) continue;
    if (!source.open_sent) return SteadyTime::min();
    if (source.opened && source.buffer.unsent_bytes() > 0 && source.buffer.sent_bytes() < options_.max_sent_bytes) {
      next = std::min(next, source.last_chunk + options_.interval);
    }
  }
  return next;
}

bool LogForwarder::Drained() const {
  return std::all_of(sources_.begin(), sources_.end(),
                     [](const auto& entry) { return entry.second.unwanted || entry.second.buffer.empty(); });
}

bool LogForwarder::Drained(const AttemptKey& key) const {
  return std::all_of(sources_.begin(), sources_.end(), [&key](const auto& entry) {
    return entry.first.first != key || entry.second.unwanted || entry.second.buffer.empty();
  });
}

bool LogForwarder::Wanted() const {
  return std::any_of(sources_.begin(), sources_.end(), [](const auto& entry) { return !entry.second.unwanted; });
}

bool LogForwarder::WriteOne(SteadyTime now) {
  for (auto& [key, source] : sources_) {
    if (source.open_sent || source.unwanted) continue;
    source.open_sent = true;
    v1::PublishLogsRequest request;
    *request.mutable_open() = source.ref;
    request.set_stream(key.second);
    stream_.Write(request);
    return true;
  }
  auto next = sources_.upper_bound(last_written_);
  for (std::size_t i = 0; i < sources_.size(); ++i, ++next) {
    if (next == sources_.end()) next = sources_.begin();
    Source& source = next->second;
    const bool too_soon = source.last_chunk != SteadyTime::min() && now < source.last_chunk + options_.interval;
    if (!source.opened || source.unwanted || source.buffer.unsent_bytes() == 0 || too_soon ||
        source.buffer.sent_bytes() >= options_.max_sent_bytes) {
      continue;
    }
    source.last_chunk = now;
    last_written_ = next->first;
    LogBuffer::Chunk chunk = source.buffer.Take(options_.max_chunk_bytes);
    v1::PublishLogsRequest request;
    *request.mutable_attempt() = source.ref;
    request.set_stream(next->first.second);
    request.set_offset(chunk.offset);
    request.set_data(std::move(chunk.bytes));
    stream_.Write(request);
    return true;
  }
  return false;
}

void LogForwarder::OnReceived(const v1::PublishLogsResponse& response) {
  const auto found = sources_.find({AttemptKey{response.job_id(), response.attempt()}, response.stream()});
  if (found == sources_.end()) return;
  Source& source = found->second;
  if (response.lease_lost()) {
    source.unwanted = true;
  } else if (!std::exchange(source.opened, true)) {
    source.buffer.Rewind(response.durable_through());
  } else {
    source.buffer.Acknowledge(response.durable_through());
  }
}

}  // namespace mantissa::agent
