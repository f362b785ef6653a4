// Which checkpoint a spec's training.init_from names.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "proto/spec/violation.h"
#include "server/rpc/backend.h"

namespace mantissa::server {

// Nothing where the spec, which is valid, names no job. A job or step that is not there, or not `tenant`'s, is a
// violation, appended to `violations`; an error is the store's. May block.
absl::StatusOr<std::optional<v1::Checkpoint>> FindInitial(Backend& backend, const std::string& tenant,
                                                          const v1::JobSpec& spec,
                                                          std::vector<spec::Violation>& violations);

}  // namespace mantissa::server
