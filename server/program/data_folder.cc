#include "server/program/data_folder.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process/file_descriptor.h"

namespace mantissa::server {

absl::Status MakeDataFolder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0750) != 0 && errno != EEXIST) {
    return absl::FailedPreconditionError("--data-dir: " + folder + " can't be made: " + strerrordesc_np(errno));
  }
  const process::FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.valid()) {
    return absl::FailedPreconditionError("--data-dir: " + folder + " can't be opened: " + strerrordesc_np(errno));
  }
  if (::access(folder.c_str(), W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError("--data-dir: " + folder + " can't be written to: " + strerrordesc_np(errno) +
                                         "; choose a folder of the user who runs the server");
  }
  return absl::OkStatus();
}

}  // namespace mantissa::server
