// A repeated request is known by its id and must ask for the same thing.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/message.h"

#include "server/core/changes.h"

namespace mantissa::server {

// The fields of a parsed message as one string: equal for equal fields, whatever the order and encoding in which the
// client sent them. Of a JobSpec for one submit, of a SubmitJobsRequest with only `specs` for a batch.
std::string RequestText(const google::protobuf::Message& message);

// INVALID_ARGUMENT, reason REQUEST_ID_REUSED, when `known` was made by another request.
absl::Status CheckSameRequest(const IdempotencyWrite& known, const std::string& request);

}  // namespace mantissa::server
