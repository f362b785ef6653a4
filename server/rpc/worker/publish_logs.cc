#include "server/rpc/worker/publish_logs.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"
#include "server/rpc/call/unary_call.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

const v1::AttemptRef& RefOf(const v1::PublishLogsRequest& request) {
  return request.has_attempt() ? request.attempt() : request.open();
}

v1::LogStream::Name StreamOf(const v1::PublishLogsRequest& request) {
  return request.stream() == v1::LogStream::NAME_UNSPECIFIED ? v1::LogStream::STDERR : request.stream();
}

absl::Status Check(const v1::PublishLogsRequest& request) {
  if (!request.has_open() && !request.has_attempt()) {
    return InvalidField("attempt", "is required: the attempt that printed the data, or open");
  }
  if (!request.has_attempt() && !request.data().empty()) return InvalidField("attempt", "is required with data");
  if (!v1::LogStream::Name_IsValid(request.stream())) return InvalidField("stream", "is none; STDOUT or STDERR");
  if (request.offset() < 0) return InvalidField("offset", "must be 0 or more, in bytes");
  return absl::OkStatus();
}

}  // namespace

void PublishLogsStream::Handle(std::shared_ptr<v1::PublishLogsRequest> request) {
  const absl::Status checked = Check(*request);
  if (!checked.ok()) return Failed(checked);
  auto stream = std::static_pointer_cast<PublishLogsStream>(shared_from_this());
  SubmitDecision(
      backend().commit,
      [request](Scheduler& scheduler, Moment, Changes&) { return scheduler.CheckFence(RefOf(*request)); },
      [stream, request](const absl::Status& status) {
        if (status.ok()) {
          stream->backend().pool.Post("", [stream, request] { stream->Store(*request); });
        } else if (ReasonOf(status) == kLeaseLost) {
          stream->backend().metrics.fence_rejections.Increment();
          stream->Acknowledge(*request, 0, /*lease_lost=*/true);
        } else {
          stream->Failed(status);
        }
      });
}

void PublishLogsStream::Store(const v1::PublishLogsRequest& request) {
  const v1::AttemptRef& ref = RefOf(request);
  const LogKey key{ref.job_id(), ref.attempt(), ref.rank(), StreamOf(request)};
  const absl::StatusOr<int64_t> size = request.data().empty()
                                           ? backend().blobs.LogSize(key)
                                           : backend().blobs.AppendLog(key, request.offset(), request.data());
  if (!size.ok()) return Failed(size.status());
  if (!request.data().empty()) backend().log_signal.Notify(ref.job_id());
  Acknowledge(request, *size, /*lease_lost=*/false);
}

void PublishLogsStream::Acknowledge(const v1::PublishLogsRequest& request, int64_t durable_through, bool lease_lost) {
  const v1::AttemptRef& ref = RefOf(request);
  v1::PublishLogsResponse ack;
  ack.set_job_id(ref.job_id());
  ack.set_attempt(ref.attempt());
  ack.set_stream(StreamOf(request));
  ack.set_durable_through(durable_through);
  ack.set_lease_lost(lease_lost);
  Handled(absl::StrCat(ref.job_id(), "/", ref.attempt(), "/", ref.rank(), "/", StreamOf(request)), std::move(ack));
}

}  // namespace mantissa::server
