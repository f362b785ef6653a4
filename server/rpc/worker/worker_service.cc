#include "server/rpc/worker/worker_service.h"

#include <utility>

#include "server/rpc/call/unary_call.h"
#include "server/rpc/worker/publish_logs.h"
#include "server/rpc/worker/publish_telemetry.h"
#include "server/rpc/worker/upload_artifact.h"

namespace mantissa::server {

grpc::ServerUnaryReactor* WorkerService::Synchronize(Context* context, const v1::SynchronizeRequest* request,
                                                     v1::SynchronizeResponse* response) {
  return SynchronizeCall::Start(backend_, calls_, *context, request, response);
}

grpc::ServerBidiReactor<v1::PublishTelemetryRequest, v1::PublishTelemetryResponse>* WorkerService::PublishTelemetry(
    Context* context) {
  return PublishTelemetryStream::Start<PublishTelemetryStream>(backend_, *context);
}

grpc::ServerBidiReactor<v1::PublishLogsRequest, v1::PublishLogsResponse>* WorkerService::PublishLogs(Context* context) {
  return PublishLogsStream::Start<PublishLogsStream>(backend_, *context);
}

grpc::ServerUnaryReactor* WorkerService::CommitCheckpoint(Context* context, const v1::CommitCheckpointRequest* request,
                                                          v1::CommitCheckpointResponse* response) {
  auto* const call = new UnaryCall(backend_, *context, "WorkerService/CommitCheckpoint");
  if (!call->admitted()) return call;
  call->ReplyAfterCommit([request, response](Scheduler& scheduler, Moment now, Changes& changes) {
    absl::StatusOr<v1::CommitCheckpointResponse> committed = scheduler.CommitCheckpoint(*request, now, changes);
    if (committed.ok()) *response = *std::move(committed);
    return committed.status();
  });
  return call;
}

grpc::ServerReadReactor<v1::UploadArtifactRequest>* WorkerService::UploadArtifact(
    Context* context, v1::UploadArtifactResponse* response) {
  return UploadArtifactStream::Start(backend_, *context, response);
}

}  // namespace mantissa::server
