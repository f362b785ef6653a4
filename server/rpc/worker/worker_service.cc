#include "server/rpc/worker/worker_service.h"

#include <utility>

#include "server/rpc/call/unary_call.h"
#include "server/rpc/worker/publish_logs.h"
#include "server/rpc/worker/publish_telemetry.h"
#include "server/rpc/worker/upload_artifact.h"

namespace mantissa::server {

grpc::ServerUnaryReactor* WorkerService::Synchronize(Context*, const v1::SynchronizeRequest* request,
                                                     v1::SynchronizeResponse* response) {
  return SynchronizeCall::Start(backend_, calls_, request, response);
}

grpc::ServerBidiReactor<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse>* WorkerService::PublishTelemetry(
    Context*) {
  return PublishTelemetryStream::Start<PublishTelemetryStream>(backend_);
}

grpc::ServerBidiReactor<v1::PublishLogsRequest, v1::PublishLogsResponse>* WorkerService::PublishLogs(Context*) {
  return PublishLogsStream::Start<PublishLogsStream>(backend_);
}

grpc::ServerUnaryReactor* WorkerService::CommitCheckpoint(Context*, const v1::CommitCheckpointRequest* request,
                                                          v1::CommitCheckpointResponse* response) {
  auto* const call = new UnaryCall(backend_, "WorkerService/CommitCheckpoint");
  call->ReplyAfterCommit([request, response](Scheduler& scheduler, Moment now, Changes& changes) {
    absl::StatusOr<v1::CommitCheckpointResponse> committed = scheduler.CommitCheckpoint(*request, now, changes);
    if (committed.ok()) *response = *std::move(committed);
    return committed.status();
  });
  return call;
}

grpc::ServerReadReactor<v1::UploadArtifactRequest>* WorkerService::UploadArtifact(
    Context*, v1::UploadArtifactResponse* response) {
  return UploadArtifactStream::Start(backend_, response);
}

}  // namespace mantissa::server
