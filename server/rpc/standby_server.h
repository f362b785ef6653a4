#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/server.h"

#include "process/tls_files.h"

namespace mantissa::server {

// What a server answers while another one is active: it lives (health ""), it is not ready (health
// "mantissa.v1.JobService"), and every call is UNAVAILABLE, reason STANDBY, so that clients go on to the next address.
// Thread-safe.
class StandbyServer {
 public:
  // Serves when it returns; port 0 takes a free one. UNAVAILABLE, saying why, when the address can't be had.
  // `tls` is the active server's: a client asks each of them before it knows which that is.
  static absl::StatusOr<std::unique_ptr<StandbyServer>> Start(const std::string& listen, const process::TlsFiles& tls);
  // Gives the address up at once.
  ~StandbyServer();

  const std::string& address() const { return address_; }

 private:
  class Refusal;
  class Service final : public grpc::CallbackGenericService {
    grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override;
  };

  StandbyServer() = default;

  Service service_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace mantissa::server
