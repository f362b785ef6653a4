// A data file beneath a root, whole.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "process/file_descriptor.h"
#include "process/roots.h"

namespace mantissa::trainer {

// `file` is a regular file open for reading. Errors name `field`; RESOURCE_EXHAUSTED when it is larger than
// `max_bytes`. A file that changes its size while it is read is an error.
absl::StatusOr<std::string> ReadFile(const process::FileDescriptor& file, std::string_view field,
                                     std::int64_t max_bytes);

// The same for a path as specs write it; a folder is an error.
absl::StatusOr<std::string> ReadRootedFile(const process::Roots& roots, std::string_view path, std::string_view field,
                                           std::int64_t max_bytes);

}  // namespace mantissa::trainer
