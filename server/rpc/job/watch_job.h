#pragma once

#include <memory>

#include "grpcpp/support/byte_buffer.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/call/frame_stream.h"
#include "server/telemetry/watch.h"

namespace mantissa::server {

// A watch, as frames on the wire: segments that were encoded once are sent as they are, without a copy. Thread-safe.
class WatchJobStream final : public FrameStream<grpc::ByteBuffer> {
 public:
  WatchJobStream(Backend& backend, const grpc::CallbackServerContext& context, const grpc::ByteBuffer* request);

 protected:
  Next Step() override;
  bool MayBlock() override { return !watch_ || watch_->ReadsStore(); }
  void Closed() override;

 private:
  absl::Status Open();

  const grpc::ByteBuffer encoded_request_;
  std::unique_ptr<Watch> watch_;
  bool ended_ = false;  // the last frame is on its way
};

}  // namespace mantissa::server
