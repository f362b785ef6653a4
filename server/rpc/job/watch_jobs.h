#pragma once

#include <optional>

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/call/frame_stream.h"
#include "server/telemetry/jobs_watch.h"

namespace mantissa::server {

// All jobs of a tenant, followed until the client goes. Thread-safe.
class WatchJobsStream final : public FrameStream<v1::WatchJobsResponse> {
 public:
  WatchJobsStream(Backend& backend, const v1::WatchJobsRequest& request)
      : FrameStream(backend, "JobService/WatchJobs"), request_(request) {}

 protected:
  Next Step() override;
  void Closed() override;

 private:
  const v1::WatchJobsRequest request_;
  std::optional<JobsWatch> watch_;
};

}  // namespace mantissa::server
