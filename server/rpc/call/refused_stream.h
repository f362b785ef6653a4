#pragma once

#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"

#include "server/rpc/backend.h"
#include "server/rpc/status.h"

namespace mantissa::server {

// A stream that ends with an error before its first frame. Owns itself.
template <typename Frame>
class RefusedStream final : public grpc::ServerWriteReactor<Frame> {
 public:
  RefusedStream(Backend& backend, const std::string& method, const absl::Status& status) {
    backend.rpc_metrics.Count(method, CodeName(status.code()));
    this->Finish(ToGrpcStatus(status));
  }
  void OnDone() override { delete this; }
};

}  // namespace mantissa::server
