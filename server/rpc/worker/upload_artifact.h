#pragma once

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"

#include "mantissa/v1/worker_service.pb.h"
#include "process/mutex.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/open_calls.h"
#include "server/store/blob_files.h"

namespace mantissa::server {

// A file on its way in: fence and wish, then bytes, then size and SHA-256, then its row. One message at a time: the
// next is read when the last is written. What ends before the row is there leaves nothing.
//
// Owns itself until gRPC is done with it. Thread-safe.
class UploadArtifactStream final : public grpc::ServerReadReactor<v1::UploadArtifactRequest>,
                                   public OpenCall,
                                   public std::enable_shared_from_this<UploadArtifactStream> {
 public:
  static UploadArtifactStream* Start(Backend& backend, const grpc::CallbackServerContext& context,
                                     v1::UploadArtifactResponse* response);
  UploadArtifactStream(Backend& backend, v1::UploadArtifactResponse* response)
      : backend_(backend), response_(*response) {}

  void End(const absl::Status& status) override;
  void OnCancel() override { End(absl::CancelledError("the client has gone")); }
  void OnReadDone(bool ok) override;
  void OnDone() override;

 private:
  void Begin(std::shared_ptr<UploadArtifactStream> self, const absl::Status& refusal);
  void CheckWanted();
  // May block.
  void Open();
  void Append();
  void Complete();
  void Record();
  // What was under way has ended: read on, or reply.
  void Rest(std::optional<absl::Status> reply);
  void FinishIfEnded();
  void FinishCounted(const absl::Status& status);

  Backend& backend_;
  v1::UploadArtifactResponse& response_;  // gRPC's, until OnDone
  std::shared_ptr<UploadArtifactStream> self_;
  v1::UploadArtifactRequest message_;  // being read or stored
  v1::AttemptRef ref_;
  v1::Artifact artifact_;
  std::unique_ptr<ArtifactWriter> writer_;

  process::Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = true;  // what was read is being stored
  // Reads that are about to be started: gRPC may let go of a stream that is finished before they are.
  int starting_ ABSL_GUARDED_BY(mutex_) = 0;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
