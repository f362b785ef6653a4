#pragma once

#include <memory>

#include "mantissa/v1/worker_service.pb.h"
#include "server/rpc/call/ack_stream.h"

namespace mantissa::server {

inline constexpr int kMaxRowsPerMessage = 256;
// Messages of a worker that may share a commit: what comes every 5 ms while a slow disk takes 80.
inline constexpr int kMaxMessagesAtOnce = 16;

// Telemetry of the attempts of one worker. An attempt whose lease is gone is told so and does not end the stream; a
// hole or a malformed segment does. Thread-safe.
class PublishTelemetryStream final : public AckStream<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse> {
 public:
  PublishTelemetryStream(Backend& backend, const grpc::CallbackServerContext& context)
      : AckStream(backend, context, "WorkerService/PublishTelemetry", kMaxMessagesAtOnce) {}

 protected:
  void Handle(std::shared_ptr<v1::PublishTelemetryRequest> request) override;
};

}  // namespace mantissa::server
