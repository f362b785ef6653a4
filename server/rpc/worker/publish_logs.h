#pragma once

#include <memory>

#include "mantissa/v1/worker_service.pb.h"
#include "server/rpc/call/ack_stream.h"

namespace mantissa::server {

// What trainers of one worker printed. Bytes are on the disk before they are acknowledged. Thread-safe.
class PublishLogsStream final : public AckStream<v1::PublishLogsRequest, v1::PublishLogsResponse> {
 public:
  PublishLogsStream(Backend& backend, const grpc::CallbackServerContext& context)
      : AckStream(backend, context, "WorkerService/PublishLogs", /*max_handling=*/1) {}

 protected:
  void Handle(std::shared_ptr<v1::PublishLogsRequest> request) override;

 private:
  // With the fence passed; may block.
  void Store(const v1::PublishLogsRequest& request);
  void Acknowledge(const v1::PublishLogsRequest& request, int64_t durable_through, bool lease_lost);
};

}  // namespace mantissa::server
