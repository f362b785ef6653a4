// The written form of a path in a spec: `root-name:relative/path`, without a prefix beneath the root `data`.
//
// Pure syntax, shared by the validation of specs and by what opens the file. Passing here proves nothing about where a
// path leads: only OpenRoot::OpenBeneath decides that.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mantissa::process {

inline constexpr std::string_view kDefaultRoot = "data";
inline constexpr std::size_t kMaxRelativePathBytes = 1024;
inline constexpr std::size_t kMaxPathPartBytes = 255;  // the kernel's own limit of one name

struct RootedPath {
  std::string root;
  std::string relative;
};

// [a-z0-9-]{1,63}
bool IsRootName(std::string_view name);

// INVALID_ARGUMENT for a path that is empty, absolute, has a `..` part, a NUL or another control character, or is
// longer than the limits above. The message says what is wrong with the path and what would be right, and leaves it to
// the caller to name the field.
absl::StatusOr<RootedPath> ParseRootedPath(std::string_view text);

// As ParseRootedPath, for the part after the root's name.
absl::Status CheckRelativePath(std::string_view relative);

}  // namespace mantissa::process
