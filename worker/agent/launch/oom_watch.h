// Tells a SIGKILL of the kernel's out-of-memory killer from any other.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <sys/types.h>

#include "process/file_descriptor.h"

namespace mantissa::agent {

struct OomSources {
  std::string own_cgroups = "/proc/self/cgroup";
  std::string cgroup_mount = "/sys/fs/cgroup";
  std::string kernel_log = "/dev/kmsg";  // readable with CAP_SYSLOG, or where kernel.dmesg_restrict is 0
};

// Knows two witnesses: the kernel log, which names the process, and the memory cgroup's count of kills. Where neither
// can be read, nothing is ever put down to the lack of memory. Not thread-safe.
class OomWatch {
 public:
  explicit OomWatch(const OomSources& sources = {});

  // True when the kernel killed `pid` since the watch began. Each kill that only the cgroup knows of explains one
  // process.
  bool Explains(pid_t pid);

 private:
  void ReadKernelLog();
  std::optional<std::uint64_t> CgroupKills() const;

  std::string counter_file_;  // empty: no memory cgroup was found
  std::uint64_t explained_kills_ = 0;
  process::FileDescriptor kernel_log_;
  std::set<pid_t> named_;
};

}  // namespace mantissa::agent
