#pragma once

#include "mantissa/v1/worker_service.grpc.pb.h"
#include "server/rpc/backend.h"
#include "server/rpc/worker/synchronize.h"

namespace mantissa::server {

// What the agents on machines with devices call. Thread-safe.
class WorkerService final : public v1::WorkerService::CallbackService {
 public:
  // `backend` outlives the service.
  explicit WorkerService(Backend& backend) : backend_(backend) {}

  using Context = grpc::CallbackServerContext;

  grpc::ServerUnaryReactor* Synchronize(Context* context, const v1::SynchronizeRequest* request,
                                        v1::SynchronizeResponse* response) override;
  grpc::ServerBidiReactor<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse>* PublishTelemetry(
      Context* context) override;
  grpc::ServerBidiReactor<v1::PublishLogsRequest, v1::PublishLogsResponse>* PublishLogs(Context* context) override;
  grpc::ServerUnaryReactor* CommitCheckpoint(Context* context, const v1::CommitCheckpointRequest* request,
                                             v1::CommitCheckpointResponse* response) override;
  grpc::ServerReadReactor<v1::UploadArtifactRequest>* UploadArtifact(Context* context,
                                                                     v1::UploadArtifactResponse* response) override;

 private:
  Backend& backend_;
  SynchronizeCalls calls_;
};

}  // namespace mantissa::server
