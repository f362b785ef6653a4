// Files that an operator writes by hand or by a script: certificates, keys, tokens.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace mantissa::process {

// All of it, at most 1 MiB. NOT_FOUND or PERMISSION_DENIED or INVALID_ARGUMENT begins with the path and says what to
// do; never what is in the file.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path);

}  // namespace mantissa::process
