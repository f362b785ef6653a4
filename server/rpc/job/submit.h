// Taking jobs in.
#pragma once

#include <string>

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/unary_call.h"

namespace mantissa::server {

inline constexpr int kMaxSpecsInBatch = 1000;

// Checks, resolves, stores, replies. Every violation is said at once. `trace_id` is the caller's, or empty.
void SubmitOne(Backend& backend, UnaryCall* call, const v1::SubmitJobRequest& request, const std::string& trace_id,
               v1::Job& job);

// Each spec has its own outcome; the good ones are stored together. May block, and takes its time over a thousand
// specs.
void SubmitMany(Backend& backend, UnaryCall* call, const v1::SubmitJobsRequest& request, const std::string& trace_id,
                v1::SubmitJobsResponse& response);

}  // namespace mantissa::server
