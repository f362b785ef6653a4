#include "server/rpc/call/unary_call.h"

#include <memory>
#include <utility>

#include "server/core/errors.h"
#include "server/rpc/status.h"

namespace mantissa::server {

UnaryCall::UnaryCall(Backend& backend, const grpc::CallbackServerContext& context, std::string method)
    : backend_(backend),
      method_(std::move(method)),
      arrived_(backend.clock.Now()),
      caller_(backend.access.Admit(context, method_, arrived_)) {
  if (!caller_.ok()) Reply(caller_.status());
}

void UnaryCall::Reply(const absl::Status& outcome) {
  // One that was stopped for a while and wakes up would answer from a world that has gone on.
  const absl::Status status = backend_.MayAnswer() ? outcome : StandingBy();
  backend_.rpc_metrics.CountTimed(method_, CodeName(status.code()), backend_.clock.Now() - arrived_);
  if (ReasonOf(status) == kLeaseLost) backend_.metrics.fence_rejections.Increment();
  Finish(ToGrpcStatus(status));
}

void UnaryCall::ReplyFromPool(std::function<absl::Status()> work) {
  backend_.pool.Post(caller_->tenant, [this, work = std::move(work)] { Reply(work()); });
}

void UnaryCall::Commit(std::function<absl::Status(Scheduler&, Moment, Changes&)> decide,
                       std::function<void(const absl::Status&)> then) {
  SubmitDecision(backend_.commit, std::move(decide), std::move(then));
}

void UnaryCall::ReplyAfterCommit(std::function<absl::Status(Scheduler&, Moment, Changes&)> decide) {
  Commit(std::move(decide), [this](const absl::Status& status) { Reply(status); });
}

void UnaryCall::ReplyFromState(std::function<absl::Status(const Scheduler&, Moment)> look) {
  auto refusal = std::make_shared<absl::Status>();
  backend_.commit.Read(
      {[refusal, look = std::move(look)](const Scheduler& scheduler, Moment now) { *refusal = look(scheduler, now); },
       [this, refusal](const absl::Status& seen) { Reply(refusal->ok() ? seen : *refusal); }});
}

void SubmitDecision(GroupCommit& commit, std::function<absl::Status(Scheduler&, Moment, Changes&)> decide,
                    std::function<void(const absl::Status&)> then, WhenReadOnly when_read_only) {
  auto refusal = std::make_shared<absl::Status>();
  commit.Submit(
      {[refusal, decide = std::move(decide)](Scheduler& scheduler, Moment now, Changes& changes) {
         *refusal = decide(scheduler, now, changes);
       },
       [refusal, then = std::move(then)](const absl::Status& committed) { then(refusal->ok() ? committed : *refusal); },
       when_read_only});
}

}  // namespace mantissa::server
