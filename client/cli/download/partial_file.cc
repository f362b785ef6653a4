#include "client/cli/download/partial_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mantissa::cli {
namespace {

absl::Status FileError(std::string_view what, const std::string& path, int error) {
  const std::string remedy = error == ENOSPC   ? "; make room and run the same command again, it goes on where it was"
                             : error == EACCES ? "; choose another file with -O"
                             : error == ENOENT ? "; make the folder first, or choose another file with -O"
                                               : "";
  const absl::StatusCode code = error == ENOSPC ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnknown;
  return absl::Status(code, absl::StrCat(std::string(what), " ", path, ": ", std::strerror(error),
                                         remedy));  // NOLINT(concurrency-mt-unsafe)
}

std::string FolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

PartialFile::PartialFile(std::string file, std::string sha256, std::int64_t size)
    : file_(std::move(file)),
      path_(absl::StrCat(file_, ".", sha256.substr(0, 12), ".part")),
      sha256_(std::move(sha256)),
      size_(size) {}

absl::StatusOr<PartialFile> PartialFile::Open(const std::string& file, const std::string& sha256, std::int64_t size) {
  PartialFile part(file, sha256, size);
  part.descriptor_ = process::FileDescriptor(::open(part.path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!part.descriptor_.valid()) return FileError("can't write", part.path_, errno);
  if (::flock(part.descriptor_.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("another download is writing ", part.path_, "; wait for it, or choose another file with -O"));
  }
  const absl::Status hashed = part.HashWhatIsThere();
  if (!hashed.ok()) return hashed;
  return part;
}

absl::Status PartialFile::HashWhatIsThere() {
  std::vector<char> buffer(1 << 20);
  while (true) {
    const ssize_t got = ::pread(descriptor_.get(), buffer.data(), buffer.size(), offset_);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("can't read", path_, errno);
    if (got == 0) return absl::OkStatus();
    offset_ += got;
    if (offset_ > size_) return Restart();
    hash_.Add(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
  }
}

absl::Status PartialFile::Append(std::string_view bytes) {
  if (offset_ + static_cast<std::int64_t>(bytes.size()) > size_) {
    return absl::DataLossError(absl::StrCat("the server sent more than the ", size_, " bytes of the file"));
  }
  hash_.Add(bytes);
  while (!bytes.empty()) {
    const ssize_t wrote = ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), offset_);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return FileError("can't write", path_, errno);
    offset_ += wrote;
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return absl::OkStatus();
}

absl::Status PartialFile::Restart() {
  if (::ftruncate(descriptor_.get(), 0) != 0) return FileError("can't empty", path_, errno);
  offset_ = 0;
  hash_ = Sha256();
  return absl::OkStatus();
}

absl::Status PartialFile::Commit() {
  if (offset_ != size_) {
    return absl::DataLossError(absl::StrCat("the download ended after ", offset_, " of ", size_, " bytes"));
  }
  const std::string digest = hash_.Finish();
  if (digest != sha256_) {
    return absl::DataLossError(absl::StrCat("the SHA-256 of what was fetched is ", digest, ", it should be ", sha256_));
  }
  if (::fsync(descriptor_.get()) != 0) return FileError("can't make durable", path_, errno);
  if (std::rename(path_.c_str(), file_.c_str()) != 0) return FileError("can't write", file_, errno);
  const process::FileDescriptor folder(::open(FolderOf(file_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.valid()) ::fsync(folder.get());
  return absl::OkStatus();
}

}  // namespace mantissa::cli
