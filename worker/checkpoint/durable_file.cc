#include "worker/checkpoint/durable_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"
#include "worker/checkpoint/sha256.h"

namespace mantissa::trainer {
namespace {

constexpr std::size_t kMaxWriteBytes = std::size_t{64} << 20;

absl::Status Failed(const std::string& act, const std::string& name, int error) {
  const std::string text = absl::StrCat(act, " of ", name, " failed: ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return absl::ResourceExhaustedError(text + "; free space in the root named checkpoints");
  }
  return absl::UnavailableError(text + "; check the storage of the root named checkpoints");
}

absl::Status WriteAll(int fd, const std::string& name, std::string_view bytes) {
  while (!bytes.empty()) {
    if (absl::Status injected = MANTISSA_FAILPOINT_STATUS("checkpoint.write"); !injected.ok()) return injected;
    const ssize_t wrote = ::write(fd, bytes.data(), std::min(bytes.size(), kMaxWriteBytes));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return Failed("writing", name, errno);
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return absl::OkStatus();
}

absl::StatusOr<WrittenFile> WriteTemporary(const process::FileDescriptor& folder, const std::string& temporary,
                                           std::span<const std::string_view> pieces) {
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
  process::FileDescriptor file(::openat(folder.get(), temporary.c_str(), kFlags, 0640));
  if (!file.valid()) return Failed("creation", temporary, errno);
  Sha256 hash;
  WrittenFile written;
  for (const std::string_view piece : pieces) {
    if (absl::Status wrote = WriteAll(file.get(), temporary, piece); !wrote.ok()) return wrote;
    hash.Add(piece);
    written.size_bytes += static_cast<std::int64_t>(piece.size());
  }
  if (absl::Status injected = MANTISSA_FAILPOINT_STATUS("checkpoint.fsync"); !injected.ok()) return injected;
  if (::fsync(file.get()) != 0) return Failed("fsync", temporary, errno);
  if (::close(file.Release()) != 0) return Failed("closing", temporary, errno);
  written.sha256 = hash.Finish();
  return written;
}

}  // namespace

absl::StatusOr<WrittenFile> WriteDurably(const process::FileDescriptor& folder, const std::string& name,
                                         std::span<const std::string_view> pieces) {
  const std::string temporary = absl::StrCat(".", name, ".tmp");
  auto written = WriteTemporary(folder, temporary, pieces);
  if (!written.ok()) {
    ::unlinkat(folder.get(), temporary.c_str(), 0);
    return written.status();
  }
  MANTISSA_FAILPOINT("checkpoint.before_rename");
  if (::renameat(folder.get(), temporary.c_str(), folder.get(), name.c_str()) != 0) {
    const int error = errno;
    ::unlinkat(folder.get(), temporary.c_str(), 0);
    return Failed("renaming", name, error);
  }
  return written;
}

absl::Status SyncFolder(const process::FileDescriptor& folder) {
  if (absl::Status injected = MANTISSA_FAILPOINT_STATUS("checkpoint.sync_folder"); !injected.ok()) return injected;
  if (::fsync(folder.get()) != 0) return Failed("fsync", "the checkpoint's folder", errno);
  return absl::OkStatus();
}

}  // namespace mantissa::trainer
