// Which job somebody means.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "client/cli/connection.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

// A job by its id, else by its name (the newest of that name), else by the unique beginning of its id, which is looked
// for among the newest kMaxJobsSearched. Returns the job without its specs. NOT_FOUND when nothing matches,
// INVALID_ARGUMENT when a beginning fits several.
inline constexpr int kMaxJobsSearched = 10'000;
absl::StatusOr<v1::Job> FindJob(Connection& connection, std::string_view reference);

// What people call a job: its name, else its id. As it came from the server.
std::string JobName(const v1::Job& job);

}  // namespace mantissa::cli
