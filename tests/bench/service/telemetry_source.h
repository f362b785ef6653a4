// A job whose attempt is held by a fake worker, and the stream that its telemetry goes up on, as an agent's would
// (worker/agent/forward/telemetry_forwarder.h).
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "fake_worker.h"
#include "mantissa/v1/telemetry.pb.h"

namespace mantissa::bench {

// Used by one thread.
class TelemetrySource {
 public:
  // Connects a worker, submits a job and waits until its attempt can be told of.
  explicit TelemetrySource(const std::string& address);
  ~TelemetrySource();

  const std::string& job_id() const { return ref_.job_id(); }
  // Waits while too much is sent and not acknowledged. `segment` begins where the one before it ended.
  void Send(v1::Segment segment);
  // Of attempt sequences.
  std::int64_t sent_through() const { return sent_through_; }
  std::int64_t durable_through() const;
  void WaitDurable(std::int64_t through);

 private:
  class Stream;
  v1::AttemptRef ref_;
  std::unique_ptr<FakeWorker> worker_;
  std::unique_ptr<Stream> stream_;
  std::int64_t sent_through_ = 0;
};

}  // namespace mantissa::bench
