#include "process/small_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "process/file_descriptor.h"

namespace mantissa::process {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{1} << 20;

absl::Status Unreadable(const std::string& path, int error) {
  const std::string text = absl::StrCat(path, " can't be read: ", strerrordesc_np(error));
  if (error == ENOENT || error == ENOTDIR) return absl::NotFoundError(absl::StrCat(text, "; correct the path"));
  return absl::PermissionDeniedError(absl::StrCat(text, "; let the user who runs this program read it"));
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (!file.valid()) return Unreadable(path, errno);
  std::string text(kMaxBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Unreadable(path, errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > kMaxBytes)
    return absl::InvalidArgumentError(absl::StrCat(path, " has more than 1 MiB; it is another file"));
  text.resize(size);
  return text;
}

}  // namespace mantissa::process
