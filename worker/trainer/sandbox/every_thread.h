// Restrictions that the kernel keeps for each thread by itself.
//
// Note [Every thread]
// Landlock and capabilities bind the thread that asks and those it starts from then on. A trainer that is bound may
// have others already: CUDA's, and those of LibTorch's engine. Whoever runs code in the process runs it in any of them,
// so each is made to restrict itself, by a signal, one after another.
#pragma once

#include "absl/status/status.h"

namespace mantissa::trainer {

// Has every thread of this process call `action(argument)`, which must be safe in a signal handler and returns false
// where it failed; the calling thread is the last one. FAILED_PRECONDITION where a thread failed, or blocks signals:
// the others have made the call then. Not thread-safe.
absl::Status OnEveryThread(bool (*action)(int), int argument);

}  // namespace mantissa::trainer
