#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"

#include "process/clock.h"
#include "server/core/changes.h"
#include "server/core/scheduler.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// One unary call from its handler to its reply. Owns itself: it goes when gRPC is done with it, some time after Reply.
// Thread-safe in that any one thread may reply.
class UnaryCall : public grpc::ServerUnaryReactor {
 public:
  // A call that may not be made is answered here, and its handler has no more to do than to return it: admitted().
  UnaryCall(Backend& backend, const grpc::CallbackServerContext& context, std::string method);

  bool admitted() const { return caller_.ok(); }
  // Of a call that was admitted.
  const Caller& caller() const { return *caller_; }

  // Once.
  void Reply(const absl::Status& status);

  // `work` on a thread that may block; its status is the reply.
  void ReplyFromPool(std::function<absl::Status()> work);

  // `decide` on the writer's thread; `then` after its commit, with the refusal of `decide` if it refused, else with the
  // outcome of the commit. `then` must not block.
  void Commit(std::function<absl::Status(Scheduler&, Moment, Changes&)> decide,
              std::function<void(const absl::Status&)> then);
  // The outcome is the reply.
  void ReplyAfterCommit(std::function<absl::Status(Scheduler&, Moment, Changes&)> decide);
  // What `look` says is the reply; it changes nothing, and works where nothing can be stored.
  void ReplyFromState(std::function<absl::Status(const Scheduler&, Moment)> look);

  void OnDone() override { delete this; }

 private:
  Backend& backend_;
  const std::string method_;
  const process::SteadyTime arrived_;
  const absl::StatusOr<Caller> caller_;
};

// Submits a decision that can be refused. What `then` gets is UnaryCall::Commit's.
void SubmitDecision(GroupCommit& commit, std::function<absl::Status(Scheduler&, Moment, Changes&)> decide,
                    std::function<void(const absl::Status&)> then, WhenReadOnly when_read_only = WhenReadOnly::kRefuse);

}  // namespace mantissa::server
