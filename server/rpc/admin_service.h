#pragma once

#include <string>

#include "mantissa/v1/admin_service.grpc.pb.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// What GetServerInfo says; fixed at the start.
struct ServerIdentity {
  std::string store = "sqlite";
  int32_t schema_version = 0;
  int64_t epoch = 0;
  process::WallTime start_time;
};

// For operators. Thread-safe.
class AdminService final : public v1::AdminService::CallbackService {
 public:
  // `backend` outlives the service.
  AdminService(Backend& backend, ServerIdentity identity) : backend_(backend), identity_(std::move(identity)) {}

  using Context = grpc::CallbackServerContext;

  grpc::ServerUnaryReactor* ListWorkers(Context* context, const v1::ListWorkersRequest* request,
                                        v1::ListWorkersResponse* response) override;
  grpc::ServerUnaryReactor* GetServerInfo(Context* context, const v1::GetServerInfoRequest* request,
                                          v1::ServerInfo* response) override;
  grpc::ServerUnaryReactor* DrainWorker(Context* context, const v1::DrainWorkerRequest* request,
                                        v1::Worker* worker) override;
  grpc::ServerUnaryReactor* RequeueJob(Context* context, const v1::RequeueJobRequest* request, v1::Job* job) override;

 private:
  Backend& backend_;
  const ServerIdentity identity_;
};

}  // namespace mantissa::server
