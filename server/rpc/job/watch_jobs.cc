#include "server/rpc/job/watch_jobs.h"

#include <string>

#include "grpcpp/support/slice.h"

#include "mantissa/v1/job_service.grpc.pb.h"
#include "server/rpc/job/list_jobs.h"

namespace mantissa::server {

absl::Status WatchJobsStream::Open() {
  v1::WatchJobsRequest request;
  grpc::ByteBuffer encoded = encoded_request_;
  if (!grpc::SerializationTraits<v1::WatchJobsRequest>::Deserialize(&encoded, &request).ok()) {
    return absl::InvalidArgumentError("the request is not a WatchJobsRequest");
  }
  absl::Status checked = CheckFilter(request.filter());
  if (!checked.ok()) return checked;
  watch_.emplace(request.filter(), caller().reach, backend().store, backend().jobs_feed, shared_from_this());
  backend().metrics.watchers.Increment();
  return absl::OkStatus();
}

WatchJobsStream::Next WatchJobsStream::Step() {
  if (!watch_) {
    const absl::Status opened = Open();
    if (!opened.ok()) return opened;
  }
  const absl::StatusOr<std::optional<std::string>> frame = watch_->Next();
  if (!frame.ok()) return frame.status();
  if (!frame->has_value()) return Sleep{};
  const grpc::Slice bytes(**frame);
  return grpc::ByteBuffer(&bytes, 1);
}

void WatchJobsStream::Closed() {
  if (!watch_) return;
  watch_.reset();
  backend().metrics.watchers.Decrement();
}

}  // namespace mantissa::server
