#include "server/rpc/grpc_server.h"

#include <utility>

#include "grpc/support/log.h"
#include "grpc/support/time.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_builder.h"

#include "process/log.h"
#include "server/rpc/access/tls.h"
#include "server/rpc/listen_address.h"
#include "server/rpc/status.h"
#include "server/rpc/transport_limits.h"

namespace mantissa::server {
namespace {

// gRPC's own lines become ours. What it says of a single connection is a client's affair and of no use to an operator.
void LogLikeUs(gpr_log_func_args* args) {
  if (args->severity == GPR_LOG_SEVERITY_ERROR) process::Log(process::Level::kDebug, args->message, {{"from", "grpc"}});
}

}  // namespace

void SetUpGrpcOnce() {
  static const bool done = [] {
    gpr_set_log_function(LogLikeUs);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)done;
}

GrpcServer::GrpcServer(Backend& backend, ServerIdentity identity)
    : backend_(backend), jobs_(backend), workers_(backend), admin_(backend, std::move(identity)), scaler_(backend) {}

GrpcServer::~GrpcServer() {
  if (server_) Drain(std::chrono::milliseconds(0));
}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(GrpcServerOptions options, Backend& backend,
                                                              ServerIdentity identity) {
  SetUpGrpcOnce();
  const absl::StatusOr<ListenAddress> listen = ParseListenAddress(options.listen);
  if (!listen.ok()) return listen.status();
  std::unique_ptr<GrpcServer> server(new GrpcServer(backend, std::move(identity)));
  grpc::ServerBuilder builder;
  SetTransportLimits(builder);
  int port = 0;
  const std::shared_ptr<grpc::ServerCredentials> credentials = MakeServerCredentials(options.tls);
  if (options.authenticates) GuardBy(backend.access, backend.clock, backend.metrics, *credentials);
  builder.AddListeningPort(options.listen, credentials, &port);
  builder.RegisterService(&server->jobs_);
  builder.RegisterService(&server->workers_);
  builder.RegisterService(&server->admin_);
  builder.RegisterService(&server->scaler_);
  server->server_ = builder.BuildAndStart();
  if (!server->server_ || port == 0) {
    server->server_.reset();
    return WhyNotBound(*listen);
  }
  server->address_ = listen->WithPort(port);
  server->server_->GetHealthCheckService()->SetServingStatus(kReadinessName, true);
  return server;
}

void GrpcServer::Drain(std::chrono::milliseconds grace) {
  server_->GetHealthCheckService()->SetServingStatus(kReadinessName, false);
  backend_.open_calls.Close(ShuttingDown());
  server_->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(grace.count(), GPR_TIMESPAN)));
  server_->Wait();
  server_.reset();
}

}  // namespace mantissa::server
