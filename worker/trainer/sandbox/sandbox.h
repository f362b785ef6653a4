// How a trainer shuts itself in before it touches a job.
#pragma once

#include <vector>

#include "absl/status/statusor.h"

#include "process/roots.h"
#include "process/sandbox_level.h"

namespace mantissa::trainer {

// Leaves this process the roots, what its libraries read, the devices of a GPU, and what a computation needs of the
// kernel; for every thread, and for good. Limits of resources come with it: no core dumps, which would hold a tenant's
// data. Not RLIMIT_AS: CUDA maps more than there is.
//
// Returns what is in force; what the kernel lacks is left out of it, and so is Landlock where a thread of CUDA can't be
// brought in. An error is a call that failed for another reason. Call it once. Not thread-safe.
absl::StatusOr<process::SandboxLevel> EnterSandbox(const std::vector<process::Root>& roots);

}  // namespace mantissa::trainer
