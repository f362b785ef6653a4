// The launcher: the single-threaded process that starts, signals and reaps trainers for the agent.
#pragma once

#include "process/file_descriptor.h"

namespace mantissa::agent {

// Serves requests until the agent's end of the socket closes, then kills what still runs and ends the process. A
// trainer dies with the launcher (PDEATHSIG), the launcher with the agent (end of the socket), so none outlives it.
[[noreturn]] void RunLauncher(process::FileDescriptor socket);

}  // namespace mantissa::agent
