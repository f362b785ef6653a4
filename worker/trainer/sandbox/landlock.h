// Which files a process may reach, told to the kernel by Landlock (Linux 5.13).
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace mantissa::trainer {

enum class FileRights {
  kRead,    // files and folders
  kWrite,   // read, write, make and remove files and folders; no links, no programs
  kDevice,  // read, write, ioctl
};

struct FileRule {
  std::string path;  // and all beneath it, where it is a folder
  FileRights rights = FileRights::kRead;
};

// From now on no thread of this process opens, makes or removes a file outside the rules, binds or connects TCP, or, on
// kernels that can, signals a process outside or speaks to its abstract sockets. Descriptors that are open stay good.
// Paths that are not there are left out. It cannot be undone.
//
// UNAVAILABLE where the kernel has no Landlock; FAILED_PRECONDITION where OnEveryThread could not reach one. The
// process has given up new privileges before. Not thread-safe.
absl::Status RestrictFiles(const std::vector<FileRule>& rules);

}  // namespace mantissa::trainer
