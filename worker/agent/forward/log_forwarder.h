// Carries what trainers write to stdout and stderr to the server.
#pragma once

#include <chrono>
#include <cstddef>
#include <utility>

#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/forward/log_buffer.h"
#include "worker/agent/forward/standing_stream.h"
#include "worker/agent/forward/stream_sources.h"

namespace mantissa::agent {

struct LogOptions {
  std::size_t max_buffered_bytes = std::size_t{4} << 20;  // per attempt and stream
  std::size_t max_sent_bytes = std::size_t{512} << 10;    // sent and not acknowledged
  std::size_t max_chunk_bytes = std::size_t{64} << 10;
  std::chrono::milliseconds interval{20};  // between chunks of one stream
  std::chrono::milliseconds after_close{60'000};
};

// As TelemetryForwarder, for bytes. An attempt's stream is opened when it has its first byte. Not thread-safe.
class LogForwarder {
 public:
  LogForwarder(LogOptions options, ServerLink& link, Inbox& inbox);

  void Append(const v1::AttemptRef& ref, v1::LogStream::Name stream, std::string_view bytes);
  void Close(const AttemptKey& key, process::SteadyTime now);

  void Tick(process::SteadyTime now);
  process::SteadyTime NextDeadline() const;
  bool Drained() const { return sources_.Drained(); }
  bool Drained(const AttemptKey& key) const;

 private:
  using SourceKey = std::pair<AttemptKey, v1::LogStream::Name>;

  struct Source : StreamSource {
    Source(v1::AttemptRef attempt, v1::LogStream::Name stream, const LogOptions& options)
        : StreamSource(std::move(attempt)), stream(stream), options(options), buffer(options.max_buffered_bytes) {}

    bool Empty() const { return buffer.empty(); }
    process::SteadyTime DueAt() const;
    v1::PublishLogsRequest Open() const;
    v1::PublishLogsRequest Next(process::SteadyTime now);

    v1::LogStream::Name stream;
    const LogOptions& options;
    LogBuffer buffer;
    process::SteadyTime last_chunk = process::SteadyTime::min();
  };

  void OnReceived(const v1::PublishLogsResponse& response);

  const LogOptions options_;
  StreamSources<SourceKey, Source> sources_;
  StandingStream<v1::PublishLogsRequest, v1::PublishLogsResponse> stream_;
};

}  // namespace mantissa::agent
