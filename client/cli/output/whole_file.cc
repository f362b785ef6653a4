#include "client/cli/output/whole_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "client/cli/output/display_text.h"
#include "process/file_descriptor.h"

namespace mantissa::cli {
namespace {

absl::Status CannotWrite(const std::string& file, int error, std::string_view option) {
  const std::string other = absl::StrCat("choose another file with ", std::string(option));
  const std::string remedy = error == ENOSPC ? "make room, or " : error == ENOENT ? "make the folder first, or " : "";
  return absl::Status(error == ENOSPC ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnknown,
                      absl::StrCat("can't write ", ForTerminal(file), ": ",
                                   std::strerror(error),  // NOLINT(concurrency-mt-unsafe)
                                   "; ", remedy, other));
}

int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno;
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return ::fsync(fd) == 0 ? 0 : errno;
}

}  // namespace

absl::Status MayReplace(const std::string& file, bool force, std::string_view option) {
  struct stat info {};
  if (!force && ::lstat(file.c_str(), &info) == 0) {
    return absl::AlreadyExistsError(absl::StrCat(
        ForTerminal(file), " is already there; replace it with --force, or choose another with ", std::string(option)));
  }
  // What is written takes the place of what is there: of a device, for root, that would be the end.
  if (::stat(file.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(option), ": ", ForTerminal(file),
                                                   " is no regular file; ", std::string(option),
                                                   " - writes to stdout, which may be anything"));
  }
  return absl::OkStatus();
}

absl::Status WriteWhole(const std::string& file, std::string_view bytes, std::string_view option) {
  const std::string part = absl::StrCat(file, ".", ::getpid(), ".part");
  const process::FileDescriptor written(
      ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (!written.valid()) return CannotWrite(file, errno, option);
  int error = WriteAll(written.get(), bytes);
  if (error == 0 && std::rename(part.c_str(), file.c_str()) != 0) error = errno;
  if (error != 0) {
    ::unlink(part.c_str());
    return CannotWrite(file, error, option);
  }
  const std::size_t slash = file.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : file.substr(0, slash);
  const process::FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.valid()) ::fsync(opened.get());
  return absl::OkStatus();
}

}  // namespace mantissa::cli
