// The server over gRPC.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "grpcpp/client_context.h"

#include "mantissa/v1/worker_service.grpc.pb.h"
#include "process/mutex.h"
#include "worker/agent/link/server_link.h"

namespace mantissa::agent {

// What is in flight, so that it can be ended and waited for. Thread-safe.
class OpenCalls {
 public:
  // False after CancelAll: the call must not begin.
  bool Add(grpc::ClientContext* context);
  void Remove(grpc::ClientContext* context);
  // Cancels all and waits until each is removed.
  void CancelAll();

 private:
  process::Mutex mutex_;
  process::CondVar removed_;
  std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// Plain text to a server on the same machine or a private network. Thread-safe.
class GrpcServerLink final : public ServerLink {
 public:
  explicit GrpcServerLink(std::string address);
  ~GrpcServerLink() override { Shutdown(); }

  void Synchronize(const v1::SynchronizeRequest& request, std::chrono::milliseconds deadline, SyncDone done) override;
  void CommitCheckpoint(const v1::CommitCheckpointRequest& request, std::chrono::milliseconds deadline,
                        CommitDone done) override;
  std::unique_ptr<TelemetryStream> OpenTelemetry(StreamEvents<v1::PublishTelemetryResponse> events) override;
  std::unique_ptr<LogsStream> OpenLogs(StreamEvents<v1::PublishLogsResponse> events) override;
  absl::Status UploadArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact,
                              const ChunkSource& next) override;
  void Renew() override;
  void Shutdown() override { calls_.CancelAll(); }

 private:
  std::shared_ptr<v1::WorkerService::Stub> Stub();

  const std::string address_;
  OpenCalls calls_;
  process::Mutex mutex_;
  std::shared_ptr<v1::WorkerService::Stub> stub_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::agent
