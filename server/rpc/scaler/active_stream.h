#pragma once

#include <optional>

#include "absl/status/statusor.h"

#include "externalscaler/externalscaler.pb.h"
#include "server/rpc/call/frame_stream.h"
#include "server/rpc/scaler/scaler_metadata.h"
#include "server/telemetry/jobs_feed.h"

namespace mantissa::server {

// Whether jobs wait: at once, and again whenever it has changed. Thread-safe.
class ActiveStream final : public FrameStream<externalscaler::IsActiveResponse> {
 public:
  ActiveStream(Backend& backend, const grpc::CallbackServerContext& context,
               const externalscaler::ScaledObjectRef& request)
      : FrameStream(backend, context, "externalscaler.ExternalScaler/StreamIsActive"), request_(request) {}

 protected:
  Next Step() override;
  void Closed() override { follower_.reset(); }

 private:
  // Passes what has changed; the queue itself is looked at after it.
  void CatchUp();
  absl::StatusOr<bool> AnyQueued();

  const externalscaler::ScaledObjectRef request_;
  std::optional<QueueFilter> filter_;           // once Step has run
  std::optional<JobsFeed::Follower> follower_;  // wakes this stream after every commit
  std::optional<bool> sent_;
};

}  // namespace mantissa::server
