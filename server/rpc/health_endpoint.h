#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server.h"

namespace mantissa::server {

// Health on an address of its own, in clear text and with nothing else: for probes that speak no TLS, such as those of
// Kubernetes. "" is SERVING for as long as the process lives, "mantissa.v1.JobService" while this server takes calls.
// Thread-safe.
class HealthEndpoint {
 public:
  // Serves when it returns, not ready yet; port 0 takes a free one. UNAVAILABLE, saying why, when the address can't be
  // had.
  static absl::StatusOr<std::unique_ptr<HealthEndpoint>> Start(const std::string& listen);
  ~HealthEndpoint();

  void SetReady(bool ready);

  const std::string& address() const { return address_; }

 private:
  HealthEndpoint() = default;

  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace mantissa::server
