// What is asked of one job that is there.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/unary_call.h"

namespace mantissa::server {

// One of Scheduler's: Cancel, Pause, Resume, Requeue.
using AskOfJob = absl::StatusOr<v1::Job> (Scheduler::*)(const std::string& job_id, const std::string& etag, Moment now,
                                                        Changes& changes);

// What a job that has ended is answered with.
enum class OnEnded {
  kIsFine,  // itself: it is as it was wanted
  kRefuse,  // FAILED_PRECONDITION, reason WRONG_STATE
};

// Replies with the job as it is after that. `job_id` and `etag` are the request's, and `job` is in the reply of `call`.
void ChangeJob(Backend& backend, UnaryCall* call, const std::string& job_id, const std::string& etag, AskOfJob ask,
               OnEnded on_ended, v1::Job& job);

// Changes what update_mask names; the rest of its spec is what a job was submitted with, for ever. May block.
void UpdateOne(Backend& backend, UnaryCall* call, const v1::UpdateJobRequest& request, v1::Job& job);

// May block.
void DeleteOne(Backend& backend, UnaryCall* call, const v1::DeleteJobRequest& request);

}  // namespace mantissa::server
