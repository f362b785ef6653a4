#include "server/rpc/health_endpoint.h"

#include "grpc/support/time.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"

#include "server/rpc/grpc_server.h"
#include "server/rpc/listen_address.h"
#include "server/rpc/transport_limits.h"
#include "server/rpc/without_reflection.h"

namespace mantissa::server {

absl::StatusOr<std::unique_ptr<HealthEndpoint>> HealthEndpoint::Start(const std::string& listen) {
  SetUpGrpcOnce();
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(listen);
  if (!address.ok()) return address.status();
  std::unique_ptr<HealthEndpoint> health(new HealthEndpoint);
  grpc::ServerBuilder builder;
  SetTransportLimits(builder);
  TakeAwayReflection(builder);
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  health->server_ = builder.BuildAndStart();
  if (!health->server_ || port == 0) {
    health->server_.reset();
    return WhyNotBound(*address);
  }
  health->address_ = address->WithPort(port);
  health->SetReady(false);
  return health;
}

void HealthEndpoint::SetReady(bool ready) { server_->GetHealthCheckService()->SetServingStatus(kReadinessName, ready); }

HealthEndpoint::~HealthEndpoint() {
  if (!server_) return;
  server_->Shutdown(gpr_now(GPR_CLOCK_MONOTONIC));  // watches of health stay open for ever
  server_->Wait();
}

}  // namespace mantissa::server
