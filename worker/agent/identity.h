// Who this worker is: the one thing of its own that survives a restart.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

#include "process/file_descriptor.h"
#include "process/ids.h"

namespace mantissa::agent {

// [a-z0-9-]{1,63}.
bool IsWorkerId(std::string_view text);

// A folder that one agent at a time may use, and the id kept in it. Not thread-safe.
class Identity {
 public:
  // Makes `state_dir` where it is missing and takes its lock: FAILED_PRECONDITION when another agent has it, because
  // two with one id would take each other's attempts away. `wanted` is used, and kept, when it is not empty; otherwise
  // the kept id, or a new one made of the host's name and random characters.
  static absl::StatusOr<Identity> Open(const std::string& state_dir, const std::string& wanted,
                                       const process::RandomSource& random = process::SystemRandom);

  const std::string& worker_id() const { return worker_id_; }

 private:
  Identity(std::string worker_id, process::FileDescriptor lock)
      : worker_id_(std::move(worker_id)), lock_(std::move(lock)) {}

  std::string worker_id_;
  process::FileDescriptor lock_;
};

std::string HostName();

}  // namespace mantissa::agent
