#pragma once

#include <memory>
#include <optional>

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/call/frame_stream.h"
#include "server/store/blob_files.h"

namespace mantissa::server {

// A file of a job, or a range of it. Thread-safe.
class DownloadArtifactStream final : public FrameStream<v1::DownloadArtifactResponse> {
 public:
  DownloadArtifactStream(Backend& backend, const grpc::CallbackServerContext& context,
                         const v1::DownloadArtifactRequest& request);

 protected:
  Next Step() override;

 private:
  absl::StatusOr<ArtifactWrite> Find();
  // The first frame: what the file is.
  Next Open();

  const v1::DownloadArtifactRequest request_;
  std::unique_ptr<ArtifactReader> reader_;
  int64_t at_ = 0;
  int64_t end_ = 0;
};

}  // namespace mantissa::server
