// The one crossing from absl::Status to grpc::Status.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/support/status.h"

#include "proto/spec/violation.h"

namespace mantissa::server {

inline constexpr std::string_view kErrorDomain = "mantissa.dev";

// INVALID_ARGUMENT with a BadRequest that names every violation (as many as fit: errors travel in trailers, of which
// clients accept 8 KiB by default, and then says how many are left out), or UNIMPLEMENTED when the spec only asks for
// what is not built. Field paths are from the job spec down, as people wrote them.
absl::Status InvalidSpec(const std::vector<spec::Violation>& violations);

// INVALID_ARGUMENT for one field: what is wrong, what is right.
absl::Status InvalidField(std::string_view field, std::string_view description);

// UNAVAILABLE, reason SHUTTING_DOWN.
absl::Status ShuttingDown();
// UNAVAILABLE, reason STANDBY: another server is the active one, or this one can't be sure that it still is.
absl::Status StandingBy();

// Every error carries one ErrorInfo (its reason is the code's name where nothing told a better one), a BadRequest where
// fields are to blame, RetryInfo where waiting helps, PreconditionFailure on an illegal move. What went wrong inside
// the server is logged, and hidden from the client: it may name files.
grpc::Status ToGrpcStatus(const absl::Status& status);

// UPPER_SNAKE: INVALID_ARGUMENT, NOT_FOUND, ...
std::string CodeName(absl::StatusCode code);

}  // namespace mantissa::server
