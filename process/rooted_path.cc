#include "process/rooted_path.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace mantissa::process {

bool IsRootName(std::string_view name) {
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

absl::Status CheckRelativePath(std::string_view relative) {
  if (relative.empty())
    return absl::InvalidArgumentError("the path is empty; name a file, such as digits/train-images.idx");
  if (relative.size() > kMaxRelativePathBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the path has ", relative.size(), " bytes; at most ", kMaxRelativePathBytes, " are allowed"));
  }
  if (relative.front() == '/') {
    return absl::InvalidArgumentError(
        "the path is absolute; name it relative to a root, such as data:digits/train-images.idx");
  }
  const bool control = std::any_of(relative.begin(), relative.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
  });
  if (control) return absl::InvalidArgumentError("the path has a NUL or another control character; rename the file");
  for (std::size_t start = 0; start <= relative.size();) {
    const std::size_t end = std::min(relative.find('/', start), relative.size());
    const std::string_view part = relative.substr(start, end - start);
    if (part == "..") {
      return absl::InvalidArgumentError("the path has a '..' part; name the file by its place beneath the root");
    }
    if (part.size() > kMaxPathPartBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("a part of the path has ", part.size(), " bytes; at most ", kMaxPathPartBytes, " are allowed"));
    }
    start = end + 1;
  }
  return absl::OkStatus();
}

absl::StatusOr<RootedPath> ParseRootedPath(std::string_view text) {
  RootedPath path;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    path.root = std::string(kDefaultRoot);
    path.relative = std::string(text);
  } else {
    if (!IsRootName(text.substr(0, colon))) {
      return absl::InvalidArgumentError(
          "what stands before the ':' is not the name of a root (1 to 63 of a-z, 0-9 and '-'); write "
          "root-name:relative/path, such as data:digits/train-images.idx");
    }
    path.root = std::string(text.substr(0, colon));
    path.relative = std::string(text.substr(colon + 1));
  }
  if (absl::Status checked = CheckRelativePath(path.relative); !checked.ok()) return checked;
  return path;
}

}  // namespace mantissa::process
