// Reads that every handler about one job begins with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/unary_call.h"

namespace mantissa::server {

// INVALID_ARGUMENT for what is no job id at all.
absl::Status CheckJobId(std::string_view job_id);

// NOT_FOUND, reason JOB_NOT_FOUND.
absl::Status JobNotFound(const std::string& job_id);

// INVALID_ARGUMENT for a number of rows that nothing can be thinned to.
absl::Status CheckMaxPoints(int32_t max_points);

// JobNotFound for a job that is not there or not the caller's to see. May block.
absl::StatusOr<v1::Job> ReadJob(Backend& backend, const Caller& caller, const std::string& job_id);

// OK when the job is there. May block.
absl::Status FindJob(Backend& backend, const Caller& caller, const std::string& job_id);

// Fills in what only the running server knows of `job`, which the call's reply holds, and replies.
void ReplyDecorated(UnaryCall* call, v1::Job* job);

}  // namespace mantissa::server
