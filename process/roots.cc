#include "process/roots.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "process/utf8.h"

namespace mantissa::process {
namespace {

constexpr char kStorageIdFile[] = ".mantissa-storage-id";
constexpr char kStorageIdField[] = "storage id";

// What a person sees of a path: the root's name and what they wrote, never the folder behind the root.
std::string Shown(const Root& root, std::string_view relative) {
  constexpr std::size_t kMaxShown = 200;
  return absl::StrCat("'", root.name, ":", absl::Utf8SafeCHexEscape(Utf8Prefix(relative, kMaxShown)),
                      relative.size() > kMaxShown ? "…" : "", "'");
}

absl::Status PathError(int error, const Root& root, std::string_view relative, std::string_view field) {
  const std::string what = absl::StrCat(std::string(field), ": ", Shown(root, relative), " ");
  switch (error) {
    case ENOENT:
      return absl::NotFoundError(
          absl::StrCat(what, "is not there; put it beneath root '", root.name, "', or correct the path"));
    case EXDEV:
    case ELOOP:
      return absl::InvalidArgumentError(absl::StrCat(
          what, "leads out of its root through a link; name a file that lies beneath root '", root.name, "'"));
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(
          absl::StrCat(what, "may not be opened by the user this service runs as; change its owner or mode"));
    case ENOTDIR:
      return absl::InvalidArgumentError(absl::StrCat(what, "uses a file as a folder; correct the path"));
    case EISDIR:
      return absl::InvalidArgumentError(absl::StrCat(what, "is a folder; name a file in it"));
    case EEXIST:
      return absl::AlreadyExistsError(absl::StrCat(what, "is there already; choose another name"));
    case ENXIO:
      return absl::InvalidArgumentError(absl::StrCat(what, "is not a regular file; name one"));
    case ENAMETOOLONG:
    case EINVAL:
      return absl::InvalidArgumentError(absl::StrCat(what, "is not a path this system takes; shorten or rename it"));
    case EROFS:
      return absl::FailedPreconditionError(absl::StrCat(what, "lies on a read-only file system; choose another root"));
    case ENOSPC:
    case EDQUOT:
      return absl::ResourceExhaustedError(
          absl::StrCat(what, "can't be written: root '", root.name, "' is full; free space"));
    case EMFILE:
    case ENFILE:
      return absl::ResourceExhaustedError(
          absl::StrCat(what, "can't be opened: too many open files; raise the limit (ulimit -n)"));
    case EAGAIN:
      return absl::UnavailableError(absl::StrCat(what, "is being moved about; try again"));
    case ENOSYS:
      return absl::UnimplementedError(
          absl::StrCat(what, "can't be opened safely: the kernel has no openat2; Linux 5.6 or newer is needed"));
    default:
      return absl::InternalError(absl::StrCat(what, "can't be opened: ", std::strerror(error), "; check the storage"));
  }
}

int OpenAt2(int directory, const std::string& relative, int flags, mode_t mode) {
  open_how how = {};
  how.flags = static_cast<std::uint64_t>(flags);
  // openat2 refuses a mode where nothing is created.
  how.mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? mode : 0;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  // EAGAIN says that something was renamed during the walk and the kernel can't tell whether it stayed beneath.
  constexpr int kAttempts = 64;
  int fd = -1;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    fd = static_cast<int>(::syscall(SYS_openat2, directory, relative.c_str(), &how, sizeof(how)));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
  }
  return fd;
}

absl::StatusOr<std::string> ReadStorageId(int fd) {
  char text[64];
  std::size_t size = 0;
  while (size < sizeof(text)) {
    const ssize_t got = ::read(fd, text + size, sizeof(text) - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::InternalError(absl::StrCat("can't be read: ", std::strerror(errno)));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  std::string_view id(text, size);
  if (!id.empty() && id.back() == '\n') id.remove_suffix(1);
  if (!IsUuid(id)) return absl::DataLossError("does not hold a UUID");
  return std::string(id);
}

// Writes the whole file and makes it durable. Returns errno, 0 when all is well.
int WriteDurably(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = ::write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return ::fsync(fd) == 0 ? 0 : errno;
}

}  // namespace

absl::StatusOr<Root> ParseRootSetting(std::string_view text) {
  Root root;
  const std::size_t equals = text.find('=');
  if (equals == std::string_view::npos || !IsRootName(text.substr(0, equals))) {
    return absl::InvalidArgumentError(
        "a root is written name=/folder or name=/folder:rw, the name 1 to 63 of a-z, 0-9 and '-'");
  }
  root.name = std::string(text.substr(0, equals));
  root.path = std::string(text.substr(equals + 1));
  if (root.path.ends_with(":rw")) {
    root.writable = true;
    root.path.resize(root.path.size() - 3);
  }
  if (root.path.empty() || root.path.front() != '/' || root.path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the folder of root '", root.name, "' must be absolute: ", root.name, "=/folder"));
  }
  return root;
}

absl::StatusOr<OpenRoot> OpenRoot::Open(Root root) {
  if (!IsRootName(root.name)) {
    return absl::InvalidArgumentError("a root's name is 1 to 63 of a-z, 0-9 and '-'");
  }
  FileDescriptor directory(::open(root.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) {
    const int error = errno;
    const std::string what = absl::StrCat("root '", root.name, "': its folder ");
    if (error == ENOENT) return absl::NotFoundError(what + "is not there; make it, or correct the setting");
    if (error == ENOTDIR) return absl::FailedPreconditionError(what + "is a file; name a folder in the setting");
    if (error == EACCES) return absl::PermissionDeniedError(what + "may not be opened; change its owner or mode");
    return absl::InternalError(absl::StrCat(what, "can't be opened: ", std::strerror(error)));
  }
  return OpenRoot(std::move(root), std::move(directory));
}

absl::StatusOr<FileDescriptor> OpenRoot::OpenBeneath(std::string_view relative, int flags, std::string_view field,
                                                     mode_t mode) const {
  const bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)) != 0;
  if (writes && !root_.writable) {
    return absl::PermissionDeniedError(
        absl::StrCat(std::string(field), ": root '", root_.name, "' is read-only; choose a writable root"));
  }
  const std::string path = relative.empty() ? "." : std::string(relative);
  if (absl::Status checked = CheckRelativePath(path); !checked.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(checked.message())));
  }
  flags |= O_CLOEXEC;
  // Without O_NONBLOCK the open of a FIFO would wait for its other end. openat2 takes neither flag beside O_PATH.
  if ((flags & O_PATH) == 0) flags |= O_NOCTTY | O_NONBLOCK;
  FileDescriptor fd(OpenAt2(directory_.get(), path, flags, mode));
  if (!fd.valid()) return PathError(errno, root_, relative, field);
  struct stat info = {};
  if (::fstat(fd.get(), &info) != 0) return PathError(errno, root_, relative, field);
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return PathError(ENXIO, root_, relative, field);
  return fd;
}

absl::StatusOr<FileDescriptor> OpenRoot::MakeDirectories(std::string_view relative, std::string_view field,
                                                         mode_t mode) const {
  if (!root_.writable) return OpenBeneath(relative, O_WRONLY, field);  // refuses, and says why
  absl::StatusOr<FileDescriptor> parent = OpenBeneath(".", O_RDONLY | O_DIRECTORY, field);
  std::vector<std::pair<FileDescriptor, std::string_view>> holders;  // of the folders on the way, with their paths
  for (std::size_t start = 0; parent.ok() && start < relative.size();) {
    const std::size_t end = std::min(relative.find('/', start), relative.size());
    const std::string part(relative.substr(start, end - start));
    const std::string_view prefix = relative.substr(0, end);
    start = end + 1;
    if (part.empty() || part == ".") {
      if (absl::Status checked = CheckRelativePath(relative); !checked.ok())
        return OpenBeneath(relative, O_RDONLY, field);
      continue;
    }
    absl::StatusOr<FileDescriptor> child = OpenBeneath(prefix, O_RDONLY | O_DIRECTORY, field);
    if (absl::IsNotFound(child.status())) {
      // The parent was resolved from the root just now, and the part is one plain name in it.
      if (::mkdirat(parent->get(), part.c_str(), mode) != 0 && errno != EEXIST) {
        return PathError(errno, root_, prefix, field);
      }
      child = OpenBeneath(prefix, O_RDONLY | O_DIRECTORY, field);
    }
    if (child.ok()) holders.emplace_back(*std::move(parent), prefix);
    parent = std::move(child);
  }
  if (!parent.ok()) return parent;
  // Where they were there already, too: who made them may have been killed before they were durable. After all are
  // made: a disk with a journal writes that once for them all.
  for (const auto& [holder, prefix] : holders) {
    if (::fsync(holder.get()) != 0) return PathError(errno, root_, prefix, field);
  }
  return parent;
}

absl::StatusOr<OpenRoot> OpenRoot::Folder(std::string_view relative, std::string_view field) const {
  absl::StatusOr<FileDescriptor> folder = OpenBeneath(relative, O_PATH | O_DIRECTORY | O_NOFOLLOW, field);
  if (!folder.ok()) return folder.status();
  return OpenRoot(Root{root_.name, absl::StrCat(root_.path, "/", std::string(relative)), root_.writable},
                  *std::move(folder));
}

absl::StatusOr<std::string> OpenRoot::StorageId(const RandomSource& random) const {
  const auto describe = [this](const absl::Status& status) {
    return absl::Status(status.code(),
                        absl::StrCat("root '", root_.name, "': ", kStorageIdFile, " ", std::string(status.message()),
                                     "; mend or remove that file, then start again"));
  };
  absl::StatusOr<FileDescriptor> existing = OpenBeneath(kStorageIdFile, O_RDONLY, kStorageIdField);
  if (existing.ok()) {
    absl::StatusOr<std::string> id = ReadStorageId(existing->get());
    return id.ok() ? id : describe(id.status());
  }
  if (!absl::IsNotFound(existing.status())) return existing.status();
  if (!root_.writable) {
    return absl::FailedPreconditionError(
        absl::StrCat("root '", root_.name, "' is read-only and has no ", kStorageIdFile,
                     "; write a UUID into that file once (uuidgen), or start once with the root writable"));
  }
  // Written under a name of its own and linked into place, so that nobody ever reads half an id, and of two programs
  // that come at once the second finds the first one's.
  const std::string temporary = absl::StrCat(kStorageIdFile, ".", HexEncode(RandomToken(random)));
  absl::StatusOr<FileDescriptor> file = OpenBeneath(temporary, O_WRONLY | O_CREAT | O_EXCL, kStorageIdField, 0644);
  if (!file.ok()) return file.status();
  int error = WriteDurably(file->get(), RandomUuid(random) + "\n");
  if (error == 0 && ::linkat(directory_.get(), temporary.c_str(), directory_.get(), kStorageIdFile, 0) != 0 &&
      errno != EEXIST) {
    error = errno;
  }
  ::unlinkat(directory_.get(), temporary.c_str(), 0);
  if (error != 0) return PathError(error, root_, kStorageIdFile, kStorageIdField);
  absl::StatusOr<FileDescriptor> folder = OpenBeneath(".", O_RDONLY | O_DIRECTORY, kStorageIdField);
  if (!folder.ok()) return folder.status();
  if (::fsync(folder->get()) != 0) return PathError(errno, root_, kStorageIdFile, kStorageIdField);
  existing = OpenBeneath(kStorageIdFile, O_RDONLY, kStorageIdField);
  if (!existing.ok()) return existing.status();
  absl::StatusOr<std::string> id = ReadStorageId(existing->get());
  return id.ok() ? id : describe(id.status());
}

absl::StatusOr<Roots> Roots::Open(const std::vector<Root>& roots) {
  Roots opened;
  for (const Root& root : roots) {
    if (opened.Find(root.name) != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat("root '", root.name, "' is given twice; give each name once"));
    }
    absl::StatusOr<OpenRoot> one = OpenRoot::Open(root);
    if (!one.ok()) return one.status();
    opened.roots_.push_back(*std::move(one));
  }
  return opened;
}

const OpenRoot* Roots::Find(std::string_view name) const {
  const auto found =
      std::find_if(roots_.begin(), roots_.end(), [&](const OpenRoot& root) { return root.name() == name; });
  return found == roots_.end() ? nullptr : &*found;
}

absl::StatusOr<FileDescriptor> Roots::OpenPath(std::string_view rooted_path, int flags, std::string_view field) const {
  absl::StatusOr<RootedPath> path = ParseRootedPath(rooted_path);
  if (!path.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(std::string(field), ": ", std::string(path.status().message())));
  }
  const OpenRoot* root = Find(path->root);
  if (root == nullptr) {
    std::string known;
    for (const OpenRoot& each : roots_) absl::StrAppend(&known, known.empty() ? "" : ", ", each.name());
    return absl::NotFoundError(absl::StrCat(std::string(field), ": there is no root '", path->root, "' here; ",
                                            known.empty() ? "none is configured" : "there is " + known));
  }
  return root->OpenBeneath(path->relative, flags, field);
}

}  // namespace mantissa::process
