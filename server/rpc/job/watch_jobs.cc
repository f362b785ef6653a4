#include "server/rpc/job/watch_jobs.h"

#include <utility>

#include "mantissa/v1/job_service.grpc.pb.h"
#include "server/rpc/job/list_jobs.h"

namespace mantissa::server {

WatchJobsStream::Next WatchJobsStream::Step() {
  if (!watch_) {
    const absl::Status checked = CheckFilter(request_.filter());
    if (!checked.ok()) return checked;
    watch_.emplace(request_.filter(), kDefaultTenant, backend().store, backend().jobs_feed, shared_from_this());
    backend().metrics.watchers.Increment();
  }
  absl::StatusOr<std::optional<v1::WatchJobsResponse>> frame = watch_->Next();
  if (!frame.ok()) return frame.status();
  if (!frame->has_value()) return Sleep{};
  return std::move(**frame);
}

void WatchJobsStream::Closed() {
  if (!watch_) return;
  watch_.reset();
  backend().metrics.watchers.Decrement();
}

}  // namespace mantissa::server
