#pragma once

#include <memory>
#include <optional>

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/call/frame_stream.h"
#include "server/store/blob_files.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

// The log of one attempt from an offset on; with `follow` until the attempt has ended and its worker has sent what the
// trainer printed last, or has fallen silent. Thread-safe.
class ReadLogsStream final : public FrameStream<v1::ReadLogsResponse> {
 public:
  ReadLogsStream(Backend& backend, const grpc::CallbackServerContext& context, const v1::ReadLogsRequest& request);

 protected:
  Next Step() override;
  void Closed() override { subscription_.reset(); }

 private:
  absl::Status Check() const;
  // The attempt to read; nullopt when the job has none of that number yet.
  absl::StatusOr<std::optional<v1::Attempt>> FindAttempt();
  // The attempt is over, and nobody may add to its log any more.
  absl::StatusOr<bool> IsComplete(const v1::Attempt& attempt);
  // What the log has from the offset on, as much of it as one frame takes; nullopt when there is nothing now.
  absl::StatusOr<std::optional<v1::ReadLogsResponse>> ReadFrame();

  const v1::ReadLogsRequest request_;
  std::optional<WakeSignal::Subscription> subscription_;
  int32_t attempt_ = 0;  // chosen at the first sight of one; stays
  int64_t offset_;
};

}  // namespace mantissa::server
