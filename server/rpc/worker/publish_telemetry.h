#pragma once

#include "mantissa/v1/worker_service.pb.h"
#include "server/rpc/call/ack_stream.h"

namespace mantissa::server {

inline constexpr int kMaxRowsPerMessage = 256;

// Telemetry of the attempts of one worker. An attempt whose lease is gone is told so and does not end the stream; a
// hole or a malformed segment does. Thread-safe.
class PublishTelemetryStream final : public AckStream<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse> {
 public:
  explicit PublishTelemetryStream(Backend& backend) : AckStream(backend, "WorkerService/PublishTelemetry") {}

 protected:
  void Handle(v1::PublishTelemetryRequest& request) override;
};

}  // namespace mantissa::server
