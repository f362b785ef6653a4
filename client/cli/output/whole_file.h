// Files that a command makes where somebody said.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mantissa::cli {

// Whether a command may put a file there that replaces what there is: ALREADY_EXISTS where there is something and
// `force` is not given, INVALID_ARGUMENT where that is no regular file. `option` is how the file was named (`-O`) and
// stands in the message; with it, `-` is stdout.
absl::Status MayReplace(const std::string& file, bool force, std::string_view option);

// Writes beside it under another name, makes the bytes durable and renames, so that FILE is whole or as it
// was. RESOURCE_EXHAUSTED when the disk is full.
absl::Status WriteWhole(const std::string& file, std::string_view bytes, std::string_view option);

}  // namespace mantissa::cli
