#include "worker/data/read_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "worker/data/data_size.h"

namespace mantissa::trainer {
namespace {

absl::Status IoError(std::string_view field, int error) {
  return absl::UnavailableError(absl::StrCat(std::string(field), ": the file cannot be read (", std::strerror(error),
                                             "); check the storage it is on"));
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const process::FileDescriptor& file, std::string_view field,
                                     std::int64_t max_bytes) {
  struct stat facts;
  if (::fstat(file.get(), &facts) != 0) return IoError(field, errno);
  if (S_ISDIR(facts.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(std::string(field), ": the path is a folder; name a file inside it"));
  }
  if (absl::Status fits = CheckDataSize(facts.st_size, max_bytes, field, "use a smaller file"); !fits.ok()) return fits;
  // One byte more than expected, so that a file that has grown shows.
  std::string bytes(static_cast<std::size_t>(facts.st_size) + 1, '\0');
  std::size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return IoError(field, errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size != static_cast<std::size_t>(facts.st_size)) {
    return absl::UnavailableError(
        absl::StrCat(std::string(field), ": the file changed while it was read; submit again when it is complete"));
  }
  bytes.resize(size);
  return bytes;
}

absl::StatusOr<std::string> ReadRootedFile(const process::Roots& roots, std::string_view path, std::string_view field,
                                           std::int64_t max_bytes) {
  auto file = roots.OpenPath(path, O_RDONLY, field);
  if (!file.ok()) return file.status();
  return ReadFile(*file, field, max_bytes);
}

}  // namespace mantissa::trainer
