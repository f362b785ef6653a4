#include "server/rpc/worker/synchronize.h"

#include <algorithm>
#include <utility>

#include "google/protobuf/util/time_util.h"

#include "server/core/errors.h"
#include "server/rpc/call/unary_call.h"
#include "server/rpc/status.h"

namespace mantissa::server {

using google::protobuf::util::TimeUtil;
using process::MutexLock;

std::shared_ptr<SynchronizeCall> SynchronizeCalls::Replace(const std::string& worker_id,
                                                           std::shared_ptr<SynchronizeCall> call) {
  MutexLock lock(mutex_);
  std::shared_ptr<SynchronizeCall>& place = calls_[worker_id];
  std::swap(place, call);
  return call;
}

void SynchronizeCalls::Remove(const std::string& worker_id, const SynchronizeCall* call) {
  MutexLock lock(mutex_);
  const auto found = calls_.find(worker_id);
  if (found != calls_.end() && found->second.get() == call) calls_.erase(found);
}

namespace {

constexpr char kMethod[] = "WorkerService/Synchronize";

// A certificate speaks for one worker, or for a pool of them. What else a worker says of an attempt carries the
// attempt's token, and that is told here only.
absl::Status AdmitWorker(Backend& backend, const grpc::CallbackServerContext& context, const std::string& worker_id) {
  const absl::StatusOr<Caller> caller = backend.access.Admit(context, kMethod, backend.clock.Now());
  if (!caller.ok() || caller->SpeaksFor(worker_id)) return caller.status();
  const std::string whose = caller->worker_pool.empty()
                                ? "of worker " + caller->worker_id
                                : "for workers whose ids begin with " + caller->worker_pool + "-";
  return ErrorWithReason(absl::StatusCode::kPermissionDenied, "WORKER_ID_NOT_YOURS",
                         "worker_id: the client certificate is " + whose +
                             "; call yourself that (--worker-id), or show another certificate");
}

}  // namespace

SynchronizeCall* SynchronizeCall::Start(Backend& backend, SynchronizeCalls& calls,
                                        const grpc::CallbackServerContext& context,
                                        const v1::SynchronizeRequest* request, v1::SynchronizeResponse* response) {
  auto call = std::make_shared<SynchronizeCall>(backend, calls, request, response);
  SynchronizeCall* const self = call.get();
  self->Begin(std::move(call), AdmitWorker(backend, context, request->worker_id()));
  return self;
}

void SynchronizeCall::Begin(std::shared_ptr<SynchronizeCall> self, const absl::Status& refusal) {
  self_ = std::move(self);
  const absl::Status admitted = refusal.ok() ? backend_.open_calls.Add(self_) : refusal;
  if (!admitted.ok()) return Rest(admitted);
  // Before the first look, so that what changes after it wakes the call.
  subscription_.emplace(backend_.worker_signal, request_.worker_id(), self_);
  auto unchanged = std::make_shared<std::optional<v1::SynchronizeResponse>>();
  SubmitDecision(
      backend_.commit,
      [call = self_, unchanged](Scheduler& scheduler, Moment now, Changes& changes) {
        const v1::SynchronizeRequest& report = call->request_;
        absl::Status reported = scheduler.Report(report, now, changes);
        if (reported.ok() && scheduler.DesiredRevision(report.worker_id()) == report.applied_revision()) {
          *unchanged = scheduler.DesiredState(report.worker_id(), now);
        }
        return reported;
      },
      [call = self_, unchanged](const absl::Status& status) { call->Reported(status, *unchanged); },
      WhenReadOnly::kSkip);
}

void SynchronizeCall::Reported(const absl::Status& status, const std::optional<v1::SynchronizeResponse>& unchanged) {
  if (!status.ok()) return Rest(status);
  const std::shared_ptr<SynchronizeCall> older = calls_.Replace(request_.worker_id(), self_);
  if (older) {
    older->End(ErrorWithReason(absl::StatusCode::kAborted, kSuperseded, "a newer call of this worker has taken over"));
  }
  // Most reports change nothing that the worker is to do, and then there is nothing to look for. Else what it is to do
  // is read once it is durable.
  unchanged ? Looked(*unchanged, status) : Look();
}

void SynchronizeCall::Look() {
  auto desired = std::make_shared<v1::SynchronizeResponse>();
  backend_.commit.Read(
      {[call = shared_from_this(), desired](const Scheduler& scheduler, Moment now) {
         *desired = scheduler.DesiredState(call->request_.worker_id(), now);
       },
       [call = shared_from_this(), desired](const absl::Status& status) { call->Looked(*desired, status); }});
}

void SynchronizeCall::Looked(const v1::SynchronizeResponse& desired, const absl::Status& status) {
  if (!status.ok()) return Rest(status);
  bool due;
  {
    MutexLock lock(mutex_);
    due = due_;
  }
  const bool no_hang = request_.has_max_hang() && TimeUtil::DurationToNanoseconds(request_.max_hang()) <= 0;
  if (due || no_hang || desired.desired_revision() != request_.applied_revision()) {
    response_ = desired;
    response_.set_report_number(request_.report_number());
    return Rest(absl::OkStatus());
  }
  if (!alarm_) SetAlarm(desired);
  Rest(std::nullopt);
}

void SynchronizeCall::Rest(std::optional<absl::Status> reply) {
  bool look = false;
  {
    MutexLock lock(mutex_);
    if (!end_.ok()) reply = end_;
    if (reply) {
      finished_ = true;
    } else if (std::exchange(woken_, false)) {
      look = true;
    } else {
      busy_ = false;
    }
  }
  if (reply) return FinishCounted(*reply);
  if (look) Look();
}

void SynchronizeCall::Wake() {
  {
    MutexLock lock(mutex_);
    woken_ = busy_;
    if (busy_ || finished_) return;
    busy_ = true;
  }
  Look();
}

void SynchronizeCall::End(const absl::Status& status) {
  {
    MutexLock lock(mutex_);
    if (end_.ok()) end_ = status;
    if (busy_ || finished_) return;
    finished_ = true;
  }
  FinishCounted(status);
}

void SynchronizeCall::SetAlarm(const v1::SynchronizeResponse& desired) {
  int64_t nanos = TimeUtil::DurationToNanoseconds(desired.next_call());
  if (request_.has_max_hang()) nanos = std::min(nanos, TimeUtil::DurationToNanoseconds(request_.max_hang()));
  alarm_ = calls_.alarms().Set(backend_.clock.Now() + std::chrono::nanoseconds(nanos), [weak = weak_from_this()] {
    const std::shared_ptr<SynchronizeCall> call = weak.lock();
    if (!call) return;
    {
      MutexLock lock(call->mutex_);
      call->due_ = true;
    }
    call->Wake();
  });
}

void SynchronizeCall::FinishCounted(const absl::Status& outcome) {
  const absl::Status status = backend_.MayAnswer() ? outcome : StandingBy();
  backend_.rpc_metrics.Count(kMethod, CodeName(status.code()));
  Finish(ToGrpcStatus(status));
}

void SynchronizeCall::OnDone() {
  if (alarm_) calls_.alarms().Cancel(*alarm_);
  subscription_.reset();
  calls_.Remove(request_.worker_id(), this);
  backend_.open_calls.Remove(self_);
  const auto self = std::move(self_);
}

}  // namespace mantissa::server
