// The folders a program may read and write, and the one function that resolves every path below them.
//
// A path in a spec is `root-name:relative/path`; without a prefix the root is `data`. Roots are named by the operator.
// Resolution is done by the kernel (openat2 with RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS) from the root's own
// descriptor, so that neither `..`, nor an absolute path, nor a symbolic link swapped in at the last moment leaves the
// root. There is no second code path: nothing else in the project joins a root's folder and a name.
//
// Errors name the field the path came from, what is wrong and the remedy; they never hold the folder behind a root.
#pragma once

#include <string>
#include <string_view>
#include <sys/types.h>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/file_descriptor.h"
#include "process/ids.h"
#include "process/rooted_path.h"

namespace mantissa::process {

struct Root {
  std::string name;  // [a-z0-9-]{1,63}
  std::string path;  // absolute folder on this machine
  bool writable = false;
};

// `name=/folder` for a read-only root, `name=/folder:rw` for a writable one.
absl::StatusOr<Root> ParseRootSetting(std::string_view text);

// One root, held open. Moving the folder away afterwards changes nothing. Thread-safe.
class OpenRoot {
 public:
  // NOT_FOUND or FAILED_PRECONDITION when the folder is not there or is not a folder.
  static absl::StatusOr<OpenRoot> Open(Root root);

  const std::string& name() const { return root_.name; }
  bool writable() const { return root_.writable; }
  int fd() const { return directory_.get(); }

  // Opens a file or folder beneath the root. `flags` are open(2)'s; O_CLOEXEC, O_NOCTTY and O_NONBLOCK are added. Flags
  // that write or create need a writable root. Only regular files and folders are handed out: a FIFO or device in a
  // root would block or do harm. `relative` may be empty or "." for the root's own folder.
  absl::StatusOr<FileDescriptor> OpenBeneath(std::string_view relative, int flags, std::string_view field,
                                             mode_t mode = 0640) const;

  // Makes `relative` and the folders above it where they are missing, and returns the folder opened O_DIRECTORY. Each
  // of them, whoever made it, is durable in its parent (fsync) before this returns.
  absl::StatusOr<FileDescriptor> MakeDirectories(std::string_view relative, std::string_view field,
                                                 mode_t mode = 0750) const;

  // A folder beneath the root as a root of its own, under the same name: what is opened from it stays beneath it, links
  // to its neighbours included. The folder itself must not be a link; those above it may.
  absl::StatusOr<OpenRoot> Folder(std::string_view relative, std::string_view field) const;

  // The UUID in `.mantissa-storage-id` at the root: two machines that reach the same storage see the same id. Made when
  // missing on a writable root; of two programs that make it at once, both return the same one.
  absl::StatusOr<std::string> StorageId(const RandomSource& random = SystemRandom) const;

 private:
  OpenRoot(Root root, FileDescriptor directory) : root_(std::move(root)), directory_(std::move(directory)) {}

  Root root_;
  FileDescriptor directory_;
};

// Every root of a program, by name. Thread-safe.
class Roots {
 public:
  // Opens them all; a name given twice is an error.
  static absl::StatusOr<Roots> Open(const std::vector<Root>& roots);

  // Null when there is no root of that name.
  const OpenRoot* Find(std::string_view name) const;

  const std::vector<OpenRoot>& all() const { return roots_; }

  // Parses `root-name:relative/path`, finds the root, opens beneath it.
  absl::StatusOr<FileDescriptor> OpenPath(std::string_view rooted_path, int flags, std::string_view field) const;

 private:
  std::vector<OpenRoot> roots_;
};

}  // namespace mantissa::process
