#pragma once

#include <string>

#include "absl/status/status.h"

namespace mantissa::server {

// Makes the folder of --data-dir unless it is there. FAILED_PRECONDITION, saying why, when it can't be made, opened or
// written to.
absl::Status MakeDataFolder(const std::string& folder);

}  // namespace mantissa::server
