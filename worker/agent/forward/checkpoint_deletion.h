// Removes checkpoints that the server named.
#pragma once

#include <string>

#include "absl/status/status.h"

#include "process/roots.h"

namespace mantissa::agent {

// Removes the folder of one checkpoint, and the folders above it that it leaves empty. `path` is relative to the root
// and has at least two parts: neither the root nor a job's whole folder is a checkpoint. One that is gone is fine.
absl::Status DeleteCheckpoint(const process::OpenRoot& checkpoints, const std::string& path);

// A file of a bundle that the server has, and its folder when it was the last one there. Failing to costs space, and no
// more.
void RemoveUploaded(const process::OpenRoot& folder, const std::string& path);

}  // namespace mantissa::agent
