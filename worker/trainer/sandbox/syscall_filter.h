// Which system calls a process may make, told to the kernel by seccomp.
#pragma once

#include <linux/filter.h>
#include <vector>

#include "absl/status/status.h"

namespace mantissa::trainer {

// A trainer computes, and reads and writes files; what it has no business with fails with EPERM: sockets, programs,
// processes (threads are free), other processes' memory and signals to them, mounts and namespaces, users and
// capabilities, io_uring and what else goes past such a filter. System calls that are newer than this code do not exist
// (ENOSYS): a library then takes the older way. Those of another architecture end the process.
//
// A list of what is forbidden and not of what is allowed: CUDA's driver and the C library are not ours, and a call they
// begin to make in their next release must not end a run. What it leaves open, Landlock closes.
std::vector<sock_filter> TrainerFilter(pid_t self);

// For every thread of this process, for good. Sets no_new_privs. UNAVAILABLE where the kernel has no such filters.
absl::Status InstallFilter(const std::vector<sock_filter>& filter);

}  // namespace mantissa::trainer
