#include "worker/agent/sync_loop.h"

#include <algorithm>
#include <utility>

#include "google/protobuf/util/time_util.h"

namespace mantissa::agent {
namespace {

using process::SteadyTime;
using std::chrono::milliseconds;

constexpr int kMissedForFreshChannel = 2;

}  // namespace

SyncLoop::SyncLoop(SyncOptions options)
    : options_(options), hang_(options.first_hang), backoff_(options.backoff_first, options.backoff_most) {}

std::optional<SyncLoop::Call> SyncLoop::Next(bool carried_out, SteadyTime now) {
  // News does not wait for a hanging call, but it does wait out a backoff: the server is not there to hear it.
  if (in_flight_ && !changed_) return std::nullopt;
  if (!in_flight_ && now < next_at_ && !(changed_ && connected_)) return std::nullopt;
  if (last_answer_ == SteadyTime::min()) last_answer_ = now;
  changed_ = false;
  in_flight_ = true;
  sent_at_ = now;
  if (carried_out) applied_revision_ = seen_revision_;
  Call call;
  call.number = ++number_;
  call.applied_revision = applied_revision_;
  call.hang = hang_;
  call.deadline = hang_ + options_.deadline_margin;
  call.fresh_channel = missed_deadlines_ >= kMissedForFreshChannel;
  if (call.fresh_channel) missed_deadlines_ = 0;
  return call;
}

bool SyncLoop::Answered(const v1::SynchronizeResponse& response, SteadyTime now) {
  if (response.report_number() != number_ || !in_flight_) return false;
  if (response.server_epoch() < epoch_) {
    Failed(number_, absl::UnavailableError("the answer is of a server that another has taken over from"), now);
    return false;
  }
  const bool news = response.desired_revision() != seen_revision_ || response.server_epoch() != epoch_;
  epoch_ = response.server_epoch();
  seen_revision_ = response.desired_revision();
  answered_number_ = number_;
  in_flight_ = false;
  connected_ = true;
  missed_deadlines_ = 0;
  backoff_.Reset();
  last_answer_ = now;
  leased_from_ = sent_at_;
  lease_ = milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(response.lease()));
  const auto next_call = milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(response.next_call()));
  if (next_call.count() > 0) hang_ = next_call;
  // The next call hangs at the server, so it goes out at once; unless this answer came at once with nothing in it.
  const bool hung = now - sent_at_ >= options_.shortest_interval;
  next_at_ = news || hung ? now : std::min(now + hang_, sent_at_ + options_.shortest_interval);
  return true;
}

void SyncLoop::Failed(std::int64_t number, const absl::Status& status, SteadyTime now) {
  if (number != number_ || !in_flight_) return;
  in_flight_ = false;
  connected_ = false;
  seen_revision_ = applied_revision_ = 0;
  missed_deadlines_ = absl::IsDeadlineExceeded(status) ? missed_deadlines_ + 1 : 0;
  next_at_ = now + backoff_.Next();
  changed_ = true;  // whatever the lost call said is still to be said
}

SteadyTime SyncLoop::NextDeadline() const {
  if (in_flight_) return changed_ ? SteadyTime::min() : SteadyTime::max();
  return changed_ && connected_ ? SteadyTime::min() : next_at_;
}

}  // namespace mantissa::agent
