#include "server/rpc/job/watch_job.h"

#include <string>
#include <utility>
#include <vector>

#include "grpcpp/support/slice.h"

#include "mantissa/v1/job_service.grpc.pb.h"
#include "server/rpc/job/read_job.h"

namespace mantissa::server {
namespace {

constexpr int kMaxColumns = 64;

using SharedBytes = std::shared_ptr<const std::string>;

grpc::Slice ShareSlice(SharedBytes bytes) {
  auto* const hold = new SharedBytes(std::move(bytes));
  const auto release = [](void* held) { delete static_cast<SharedBytes*>(held); };
  return {const_cast<char*>((*hold)->data()), (*hold)->size(), release, hold};
}

grpc::ByteBuffer Encode(WatchFrame& frame) {
  std::vector<grpc::Slice> slices;
  for (SharedBytes& segment : frame.segments) slices.push_back(ShareSlice(std::move(segment)));
  slices.emplace_back(frame.rest.SerializeAsString());
  return {slices.data(), slices.size()};
}

absl::Status CheckRequest(const v1::WatchJobRequest& request) {
  absl::Status status = CheckJobId(request.job_id());
  if (status.ok()) status = CheckMaxPoints(request.max_points());
  if (status.ok() && request.filter().columns_size() > kMaxColumns) {
    status = InvalidField("filter.columns", "has more columns than there are; name each once");
  }
  return status;
}

}  // namespace

WatchJobStream::WatchJobStream(Backend& backend, const grpc::CallbackServerContext& context,
                               const grpc::ByteBuffer* request)
    : FrameStream(backend, context, "JobService/WatchJob"), encoded_request_(*request) {}

absl::Status WatchJobStream::Open() {
  v1::WatchJobRequest request;
  grpc::ByteBuffer encoded = encoded_request_;
  if (!grpc::SerializationTraits<v1::WatchJobRequest>::Deserialize(&encoded, &request).ok()) {
    return absl::InvalidArgumentError("the request is not a WatchJobRequest");
  }
  absl::Status status = CheckRequest(request);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Watch>> watch =
      Watch::Open(request, caller().reach, backend().store, backend().telemetry, shared_from_this());
  if (absl::IsNotFound(watch.status())) return JobNotFound(request.job_id());
  if (!watch.ok()) return watch.status();
  watch_ = *std::move(watch);
  backend().metrics.watchers.Increment();
  return absl::OkStatus();
}

WatchJobStream::Next WatchJobStream::Step() {
  if (ended_) return absl::OkStatus();
  if (!watch_) {
    const absl::Status opened = Open();
    if (!opened.ok()) return opened;
  }
  absl::StatusOr<std::optional<WatchFrame>> frame = watch_->Next();
  if (!frame.ok()) return frame.status();
  if (!frame->has_value()) return Sleep{};
  ended_ = (*frame)->last;
  backend().metrics.telemetry_entries_sent.Increment(static_cast<double>((*frame)->rows));
  return Encode(**frame);
}

void WatchJobStream::Closed() {
  if (!watch_) return;
  watch_.reset();
  backend().metrics.watchers.Decrement();
}

}  // namespace mantissa::server
