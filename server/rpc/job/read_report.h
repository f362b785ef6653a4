#pragma once

#include "absl/status/status.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// What a study has found. FAILED_PRECONDITION, reason NOT_A_STUDY, for a job that is none; NOT_FOUND, reason NO_REPORT,
// for a study that has none, with its state; INVALID_ARGUMENT for a section that the report does not have. May block.
absl::Status ReadReport(Backend& backend, const Caller& caller, const v1::GetReportRequest& request,
                        v1::GetReportResponse& response);

}  // namespace mantissa::server
