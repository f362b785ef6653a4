#include "server/rpc/standby_server.h"

#include <cstdint>

#include "grpc/support/time.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"

#include "server/rpc/access/tls.h"
#include "server/rpc/grpc_server.h"
#include "server/rpc/listen_address.h"
#include "server/rpc/status.h"
#include "server/rpc/transport_limits.h"
#include "server/rpc/without_reflection.h"

namespace mantissa::server {

class StandbyServer::Refusal final : public grpc::ServerGenericBidiReactor {
 public:
  Refusal() { Finish(ToGrpcStatus(StandingBy())); }
  void OnDone() override { delete this; }
};

grpc::ServerGenericBidiReactor* StandbyServer::Service::CreateReactor(grpc::GenericCallbackServerContext*) {
  return new Refusal;
}

absl::StatusOr<std::unique_ptr<StandbyServer>> StandbyServer::Start(const std::string& listen,
                                                                    const process::TlsFiles& tls) {
  SetUpGrpcOnce();
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(listen);
  if (!address.ok()) return address.status();
  std::unique_ptr<StandbyServer> standby(new StandbyServer);
  grpc::ServerBuilder builder;
  SetTransportLimits(builder);
  TakeAwayReflection(builder);
  int port = 0;
  builder.AddListeningPort(listen, MakeServerCredentials(tls), &port);
  builder.RegisterCallbackGenericService(&standby->service_);
  standby->server_ = builder.BuildAndStart();
  if (!standby->server_ || port == 0) {
    standby->server_.reset();
    return WhyNotBound(*address);
  }
  standby->address_ = address->WithPort(port);
  standby->server_->GetHealthCheckService()->SetServingStatus(kReadinessName, false);
  return standby;
}

StandbyServer::~StandbyServer() {
  if (!server_) return;
  // A refusal ends by itself; one that is cut off is CANCELLED, and nobody tries that again. Watches of health stay
  // open.
  constexpr int64_t kGraceMs = 100;
  server_->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(kGraceMs, GPR_TIMESPAN)));
  server_->Wait();
}

}  // namespace mantissa::server
