// The server over gRPC.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "grpcpp/client_context.h"
#include "grpcpp/security/credentials.h"

#include "mantissa/v1/worker_service.grpc.pb.h"
#include "process/mutex.h"
#include "process/tls_files.h"
#include "worker/agent/link/server_link.h"

namespace mantissa::agent {

// What is in flight, so that it can be ended and waited for. Thread-safe.
//
// Note [Contexts and channels]: a context holds its channel, and the last channel of a process takes gRPC's callback
// threads with it, which wait for each other. On one of these threads that would be a wait for itself, and a use of
// what is freed. So a call counts as open until its context is destroyed, and the link, whose stub holds the channel
// too, outlives them all.
class OpenCalls {
 public:
  // False after CancelAll: the call must not begin. Else Remove and Gone must follow.
  bool Add(grpc::ClientContext* context);
  // It is about to be destroyed, and must not be cancelled any more.
  void Remove(grpc::ClientContext* context);
  // A removed one is destroyed. The caller's last word: the link may be gone when this returns.
  void Gone();
  // Cancels all and waits until each is gone.
  void CancelAll();

 private:
  process::Mutex mutex_;
  process::CondVar all_gone_;
  std::set<grpc::ClientContext*> contexts_ ABSL_GUARDED_BY(mutex_);
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// Plain text to a server on the same machine or a private network, or TLS where there is a CA. Thread-safe.
class GrpcServerLink final : public ServerLink {
 public:
  // `tls` has been checked; its files are read again when they change. `server_name`: as the server's certificate has
  // it, empty where that is what `address` says.
  explicit GrpcServerLink(std::string address, const process::TlsFiles& tls = {}, std::string server_name = "");
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
  const std::string server_name_;
  const std::shared_ptr<grpc::ChannelCredentials> credentials_;
  OpenCalls calls_;
  process::Mutex mutex_;
  std::shared_ptr<v1::WorkerService::Stub> stub_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::agent
