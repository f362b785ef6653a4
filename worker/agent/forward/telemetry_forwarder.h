// Carries what trainers say to the server, and keeps it until the server has it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "mantissa/v1/trainer_frame.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/forward/standing_stream.h"
#include "worker/agent/forward/stream_sources.h"
#include "worker/agent/forward/telemetry_buffer.h"

namespace mantissa::agent {

struct TelemetryOptions {
  std::size_t max_buffered_bytes = std::size_t{64} << 20;  // per attempt; beyond it the oldest records coalesce
  std::size_t max_sent_bytes = std::size_t{4} << 20;       // per attempt, sent and not acknowledged
  int max_batch_rows = 256;
  std::chrono::milliseconds batch_interval{5};    // between batches of one attempt that are not full
  std::chrono::milliseconds after_close{60'000};  // how long the rest of a forgotten attempt is still offered
};

struct TelemetryCounts {
  std::int64_t acknowledged = 0;  // attempt sequences
  std::int64_t gaps = 0;
};

// One stream for all attempts, open while there is an attempt. On each new stream an attempt is opened first; the
// answer says how far the server is, and what comes after that is sent, again where need be. Appending never waits and
// never fails. Not thread-safe.
class TelemetryForwarder {
 public:
  // `link` must outlive the forwarder, and `inbox` must not run actions after it.
  TelemetryForwarder(TelemetryOptions options, ServerLink& link, Inbox& inbox);

  // The trace id is the job's.
  void Open(const v1::AttemptRef& ref, const std::string& trace_id);
  // Returns the newest attempt_sequence received.
  std::int64_t Append(const AttemptKey& key, v1::TelemetryBatch batch);
  // No more will come: what is left goes out without waiting for company. Its end is recorded after it.
  void Complete(const AttemptKey& key);
  // The attempt is forgotten; what is left is delivered as far as the server takes it.
  void Close(const AttemptKey& key, process::SteadyTime now);

  void Tick(process::SteadyTime now);
  process::SteadyTime NextDeadline() const;

  // Everything of every attempt is acknowledged, or nobody wants it.
  bool Drained() const { return sources_.Drained(); }
  std::size_t buffered_bytes() const;
  const TelemetryCounts& counts() const { return counts_; }

 private:
  struct Source : StreamSource {
    Source(v1::AttemptRef attempt, std::string trace_id, const TelemetryOptions& options)
        : StreamSource(std::move(attempt)),
          trace_id(std::move(trace_id)),
          options(options),
          buffer(ref.attempt(), options.max_buffered_bytes) {}

    bool Empty() const { return buffer.empty(); }
    process::SteadyTime DueAt() const;
    v1::PublishTelemetryRequest Open() const;
    v1::PublishTelemetryRequest Next(process::SteadyTime now);

    std::string trace_id;
    const TelemetryOptions& options;
    TelemetryBuffer buffer;
    bool complete = false;
    process::SteadyTime last_batch = process::SteadyTime::min();
  };

  void OnReceived(const v1::PublishTelemetryResponse& response);
  void OnClosed(const absl::Status& status);

  const TelemetryOptions options_;
  StreamSources<AttemptKey, Source> sources_;
  TelemetryCounts counts_;
  StandingStream<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse> stream_;
};

}  // namespace mantissa::agent
