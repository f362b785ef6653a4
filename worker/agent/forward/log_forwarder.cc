#include "worker/agent/forward/log_forwarder.h"

#include <algorithm>
#include <string_view>

#include "process/log.h"

namespace mantissa::agent {

using process::SteadyTime;

SteadyTime LogForwarder::Source::DueAt() const {
  if (buffer.unsent_bytes() == 0 || buffer.sent_bytes() >= options.max_sent_bytes) return SteadyTime::max();
  return last_chunk == SteadyTime::min() ? SteadyTime::min() : last_chunk + options.interval;
}

v1::PublishLogsRequest LogForwarder::Source::Open() const {
  v1::PublishLogsRequest request;
  *request.mutable_open() = ref;
  request.set_stream(stream);
  return request;
}

v1::PublishLogsRequest LogForwarder::Source::Next(SteadyTime now) {
  last_chunk = now;
  LogBuffer::Chunk chunk = buffer.Take(options.max_chunk_bytes);
  v1::PublishLogsRequest request;
  *request.mutable_attempt() = ref;
  request.set_stream(stream);
  request.set_offset(chunk.offset);
  request.set_data(std::move(chunk.bytes));
  return request;
}

LogForwarder::LogForwarder(LogOptions options, ServerLink& link, Inbox& inbox)
    : options_(options),
      stream_([&link](auto events) { return link.OpenLogs(std::move(events)); },
              {.opened = [this] { sources_.Reopen(); },
               .received = [this](const auto& response) { OnReceived(response); },
               .closed =
                   [](const absl::Status& status) {
                     process::Log(process::Level::kDebug, "the log stream ended", {{"error", status}});
                   }},
              inbox) {}

void LogForwarder::Append(const v1::AttemptRef& ref, v1::LogStream::Name stream, std::string_view bytes) {
  Source& source = sources_.Add(SourceKey{KeyOf(ref), stream}, ref, stream, options_);
  if (!source.unwanted) source.buffer.Append(bytes);
}

void LogForwarder::Close(const AttemptKey& key, SteadyTime now) {
  for (auto& [source_key, source] : sources_.all()) {
    if (source_key.first == key) source.drop_at = now + options_.after_close;
  }
}

void LogForwarder::Tick(SteadyTime now) {
  sources_.DropClosed(now);
  stream_.Tick(sources_.Wanted(), now);
  sources_.WriteTo(stream_, now);
}

SteadyTime LogForwarder::NextDeadline() const {
  return std::min(stream_.NextDeadline(sources_.Wanted()), sources_.NextDeadline(stream_.Ready()));
}

bool LogForwarder::Drained(const AttemptKey& key) const {
  return std::all_of(sources_.all().begin(), sources_.all().end(), [&key](const auto& entry) {
    return entry.first.first != key || StreamSources<SourceKey, Source>::Drained(entry.second);
  });
}

void LogForwarder::OnReceived(const v1::PublishLogsResponse& response) {
  Source* const found = sources_.Find({AttemptKey{response.job_id(), response.attempt()}, response.stream()});
  if (found == nullptr) return;
  Source& source = *found;
  if (response.lease_lost()) {
    source.unwanted = true;
  } else if (!std::exchange(source.opened, true)) {
    source.buffer.Rewind(response.durable_through());
  } else {
    source.buffer.Acknowledge(response.durable_through());
  }
}

}  // namespace mantissa::agent
