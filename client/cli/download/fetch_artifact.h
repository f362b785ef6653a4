// Brings a file of a job from the server, whole or not at all.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "client/cli/commands/context.h"
#include "mantissa/v1/job.pb.h"

namespace mantissa::cli {

// Writes `FILE.<hash>.part` and renames it once its SHA-256 is right, so that FILE is whole or absent. Goes on where an
// interrupted one stopped. Shows how far it is on a terminal.
absl::Status FetchToFile(const Context& context, const std::string& job_id, const v1::Artifact& artifact,
                         const std::string& file);

// DATA_LOSS when what was written turned out to be damaged.
absl::Status FetchToStdout(const Context& context, const std::string& job_id, const v1::Artifact& artifact);

}  // namespace mantissa::cli
