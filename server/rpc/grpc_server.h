#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/server.h"

#include "process/tls_files.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/backend.h"
#include "server/rpc/job/job_service.h"
#include "server/rpc/scaler/external_scaler.h"
#include "server/rpc/worker/worker_service.h"

namespace mantissa::server {

// Health: that calls are taken.
inline constexpr char kReadinessName[] = "mantissa.v1.JobService";

// Before the first server of the process.
void SetUpGrpcOnce();

struct GrpcServerOptions {
  // host:port; port 0 takes a free one.
  std::string listen = "127.0.0.1:50051";
  // Plain text where there is no certificate.
  process::TlsFiles tls;
  // Asks who calls; then only the method table lets anybody in.
  bool authenticates = false;
};

// The API on a socket, with health ("" says that the process lives, "mantissa.v1.JobService" that it takes calls) and
// reflection. Thread-safe but for Drain, which is called once.
class GrpcServer {
 public:
  // Serves when it returns. `backend` outlives the server. UNAVAILABLE, saying why, when the address can't be had.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(GrpcServerOptions options, Backend& backend,
                                                           ServerIdentity identity);
  // Drains without grace.
  ~GrpcServer();

  // As it can be dialled: the port is the one that was bound.
  const std::string& address() const { return address_; }

  // Readiness goes at once, streams and hanging calls are told to come back later, other calls are finished; what is
  // still open after `grace` is cut off. Returns when the last call has ended.
  void Drain(std::chrono::milliseconds grace);

 private:
  GrpcServer(Backend& backend, ServerIdentity identity);

  Backend& backend_;
  JobService jobs_;
  WorkerService workers_;
  AdminService admin_;
  ExternalScaler scaler_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace mantissa::server
