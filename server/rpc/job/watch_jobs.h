#pragma once

#include <optional>

#include "grpcpp/support/byte_buffer.h"

#include "server/rpc/call/frame_stream.h"
#include "server/telemetry/jobs_watch.h"

namespace mantissa::server {

// All jobs of a tenant, followed until the client goes. Thread-safe.
class WatchJobsStream final : public FrameStream<grpc::ByteBuffer> {
 public:
  WatchJobsStream(Backend& backend, const grpc::CallbackServerContext& context, const grpc::ByteBuffer* request)
      : FrameStream(backend, context, "JobService/WatchJobs"), encoded_request_(*request) {}

 protected:
  Next Step() override;
  void Closed() override;

 private:
  absl::Status Open();

  const grpc::ByteBuffer encoded_request_;
  std::optional<JobsWatch> watch_;
};

}  // namespace mantissa::server
