#include "server/rpc/worker/publish_telemetry.h"

#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"
#include "server/rpc/call/unary_call.h"
#include "server/rpc/status.h"

namespace mantissa::server {
namespace {

absl::Status Check(const v1::PublishTelemetryRequest& request) {
  if (!request.has_open() && !request.has_attempt()) {
    return InvalidField("attempt", "is required: the attempt that the segments are of, or open");
  }
  if (!request.has_attempt() && !request.segments().empty()) {
    return InvalidField("attempt", "is required with segments");
  }
  int64_t rows = 0;
  for (const v1::Segment& segment : request.segments()) rows += segment.count();
  if (rows > kMaxRowsPerMessage) {
    return InvalidField("segments", absl::StrCat(rows, " rows; a message has at most ", kMaxRowsPerMessage));
  }
  return absl::OkStatus();
}

}  // namespace

void PublishTelemetryStream::Handle(std::shared_ptr<v1::PublishTelemetryRequest> request) {
  const absl::Status checked = Check(*request);
  if (!checked.ok()) return Failed(checked);
  auto stream = std::static_pointer_cast<PublishTelemetryStream>(shared_from_this());
  auto durable_through = std::make_shared<int64_t>(0);
  const v1::AttemptRef& ref = request->has_attempt() ? request->attempt() : request->open();
  SubmitDecision(
      backend().commit,
      [request, &ref, durable_through](Scheduler& scheduler, Moment now, Changes& changes) {
        std::vector<v1::Segment> segments(std::make_move_iterator(request->mutable_segments()->begin()),
                                          std::make_move_iterator(request->mutable_segments()->end()));
        const absl::StatusOr<int64_t> through = scheduler.AppendTelemetry(ref, std::move(segments), now, changes);
        if (through.ok()) *durable_through = *through;
        return through.status();
      },
      [stream, request, &ref, durable_through](const absl::Status& status) {
        const bool lost = ReasonOf(status) == kLeaseLost;
        if (!status.ok() && !lost) return stream->Failed(status);
        if (lost) stream->backend().metrics.fence_rejections.Increment();
        v1::PublishTelemetryResponse ack;
        ack.set_job_id(ref.job_id());
        ack.set_attempt(ref.attempt());
        ack.set_durable_through(*durable_through);
        ack.set_lease_lost(lost);
        stream->Handled(absl::StrCat(ref.job_id(), "/", ref.attempt(), "/", ref.rank()), std::move(ack));
      });
}

}  // namespace mantissa::server
