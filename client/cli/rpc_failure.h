// What a server's error says, and how to tell it to a person.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include <grpcpp/support/status.h>

#include "client/cli/spec/spec_file.h"

namespace mantissa::cli {

struct FailureViolation {
  std::string field;
  std::string reason;
  std::string description;
};

// An error with its details. Fields that the server did not send are empty.
struct RpcFailure {
  grpc::StatusCode code = grpc::StatusCode::UNKNOWN;
  std::string message;
  std::string reason;  // ErrorInfo
  std::string domain;
  std::map<std::string, std::string> metadata;
  std::vector<FailureViolation> violations;  // BadRequest
  std::vector<std::string> preconditions;    // PreconditionFailure
  std::optional<std::chrono::milliseconds> retry_after;
};

RpcFailure DecodeFailure(const grpc::Status& status);

// Where the call went, for the words of the error.
struct FailureContext {
  std::string address;
  bool connected = false;
  const SpecFile* spec = nullptr;  // violations are shown with its lines
};

// Something is there and speaks, but it is not a Mantissa server.
bool IsWrongServer(const RpcFailure& failure);

// The same call may succeed later and does no harm when repeated with the same request_id.
bool IsTransient(const RpcFailure& failure);

// The error in full: what happened, every violation on a line of its own, the reason's name, what to do. The code
// decides the exit code.
absl::Status Explain(const RpcFailure& failure, const FailureContext& context);

}  // namespace mantissa::cli
