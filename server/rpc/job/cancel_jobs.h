#pragma once

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/backend.h"
#include "server/rpc/call/unary_call.h"

namespace mantissa::server {

// Cancels all jobs that the filter names, in one transaction: all of them or none. INVALID_ARGUMENT for an empty filter
// and for one that names more jobs than a call may cancel. May block.
void CancelMany(Backend& backend, UnaryCall* call, const v1::CancelJobsRequest& request,
                v1::CancelJobsResponse& response);

}  // namespace mantissa::server
