#include "worker/agent/forward/checkpoint_deletion.h"

#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <string_view>
#include <unistd.h>
#include <vector>

#include "absl/strings/str_cat.h"

namespace mantissa::agent {
namespace {

constexpr char kField[] = "checkpoint";

// Names in a folder, `.` and `..` left out.
absl::StatusOr<std::vector<std::string>> Names(int folder) {
  const int copy = ::fcntl(folder, F_DUPFD_CLOEXEC, 0);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy), &::closedir);
  if (stream == nullptr) {
    ::close(copy);
    return absl::ErrnoToStatus(errno, "reading a checkpoint's folder");
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

std::string_view Parent(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

absl::Status Remove(const process::OpenRoot& root, std::string_view path, int flags) {
  absl::StatusOr<process::FileDescriptor> parent = root.OpenBeneath(Parent(path), O_RDONLY | O_DIRECTORY, kField);
  if (!parent.ok()) return parent.status();
  const std::string name(path.substr(Parent(path).empty() ? 0 : Parent(path).size() + 1));
  if (::unlinkat(parent->get(), name.c_str(), flags) != 0 && errno != ENOENT) {
    return absl::ErrnoToStatus(errno, "deleting a checkpoint");
  }
  return absl::OkStatus();
}

}  // namespace

void RemoveUploaded(const process::OpenRoot& folder, const std::string& path) {
  if (!Remove(folder, path, 0).ok()) return;
  Remove(folder, Parent(path), AT_REMOVEDIR).IgnoreError();  // fails as long as there are others
}

absl::Status DeleteCheckpoint(const process::OpenRoot& checkpoints, const std::string& path) {
  if (Parent(path).empty() || path.ends_with('/')) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is no checkpoint's folder"));
  }
  // From the job's own folder on, links lead nowhere else: a trainer may have put one there to have another's deleted.
  const std::string_view above = Parent(path);
  const std::string_view job = Parent(above).empty() ? above : Parent(above);
  const absl::StatusOr<process::OpenRoot> own = checkpoints.Folder(job, kField);
  if (absl::IsNotFound(own.status())) return absl::OkStatus();
  if (!own.ok()) return own.status();
  const std::string within = path.substr(job.size() + 1);
  absl::StatusOr<process::FileDescriptor> folder =
      own->OpenBeneath(within, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, kField);
  if (absl::IsNotFound(folder.status())) return absl::OkStatus();
  if (!folder.ok()) return folder.status();
  absl::StatusOr<std::vector<std::string>> names = Names(folder->get());
  if (!names.ok()) return names.status();
  // The manifest goes first, for good: what is left without it is no checkpoint to anybody.
  if (::unlinkat(folder->get(), "MANIFEST.json", 0) == 0) {
    if (::fsync(folder->get()) != 0) return absl::ErrnoToStatus(errno, "syncing a checkpoint's folder");
  } else if (errno != ENOENT) {
    return absl::ErrnoToStatus(errno, "deleting MANIFEST.json of a checkpoint");
  }
  for (const std::string& name : *names) {
    if (::unlinkat(folder->get(), name.c_str(), 0) != 0 && errno != ENOENT) {
      return absl::ErrnoToStatus(errno, absl::StrCat("deleting ", name, " of a checkpoint"));
    }
  }
  if (absl::Status removed = Remove(*own, within, AT_REMOVEDIR); !removed.ok()) return removed;
  // A folder that others still use is not empty, and stays.
  for (std::string_view left = Parent(within); !left.empty(); left = Parent(left)) {
    if (!Remove(*own, left, AT_REMOVEDIR).ok()) return absl::OkStatus();
  }
  Remove(checkpoints, job, AT_REMOVEDIR).IgnoreError();
  return absl::OkStatus();
}

}  // namespace mantissa::agent
