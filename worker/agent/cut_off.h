#pragma once

#include <chrono>

#include "process/clock.h"
#include "worker/agent/held_attempts.h"
#include "worker/agent/sync_loop.h"

namespace mantissa::agent {

// How long the attempt goes on while the server says nothing (Note [Cut off]); max() where it is over or has been told
// to stop. `grace` is for an assignment that names none. Some answer has come before.
process::SteadyTime AloneUntil(const HeldAttempt& attempt, const SyncLoop& sync, std::chrono::milliseconds grace);

}  // namespace mantissa::agent
