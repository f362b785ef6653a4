// A job's records, as they are stored.
#pragma once

#include "absl/status/status.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// The next page of the records that `request` asks for, and of the gaps among them. May block.
absl::Status QueryHistoryPage(Backend& backend, const Caller& caller, const v1::QueryHistoryRequest& request,
                              v1::QueryHistoryResponse& response);

}  // namespace mantissa::server
