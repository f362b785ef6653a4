#pragma once

#include "absl/status/status.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// INVALID_ARGUMENT names the field that no job could answer to.
absl::Status CheckFilter(const v1::JobFilter& filter);

// One page of a tenant's jobs, or with none of everybody's, newest first. May block. What only the running server knows
// is not in it yet.
absl::Status ListJobsPage(Backend& backend, const std::string& tenant, const v1::ListJobsRequest& request,
                          v1::ListJobsResponse& response);

}  // namespace mantissa::server
