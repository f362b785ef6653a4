#include "server/rpc/scaler/active_stream.h"

#include <future>
#include <limits>
#include <utility>

#include "server/core/scheduler.h"

namespace mantissa::server {

ActiveStream::Next ActiveStream::Step() {
  if (!filter_) {
    absl::StatusOr<ScalerTrigger> trigger = ParseScalerMetadata(request_.scalermetadata());
    if (!trigger.ok()) return trigger.status();
    filter_ = std::move(trigger->filter);
    filter_->tenant = caller().reach;
  }
  CatchUp();
  const absl::StatusOr<bool> active = AnyQueued();
  if (!active.ok()) return active.status();
  if (sent_ == *active) return Sleep{};
  sent_ = *active;
  externalscaler::IsActiveResponse frame;
  frame.set_result(*active);
  return frame;
}

void ActiveStream::CatchUp() {
  constexpr size_t kAll = std::numeric_limits<size_t>::max();
  // One that was left behind begins anew: it has lost nothing that it would have looked at.
  if (!follower_ || !follower_->Take(kAll, kAll).ok()) follower_.emplace(backend().jobs_feed, shared_from_this());
}

absl::StatusOr<bool> ActiveStream::AnyQueued() {
  bool any = false;
  std::promise<absl::Status> seen;
  backend().commit.Read(
      {[this, &any](const Scheduler& scheduler, Moment) { any = scheduler.CountQueued(*filter_, /*most=*/1) > 0; },
       [&seen](const absl::Status& status) { seen.set_value(status); }});
  const absl::Status status = seen.get_future().get();
  if (!status.ok()) return status;
  return any;
}

}  // namespace mantissa::server
