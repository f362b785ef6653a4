// How far a trainer is shut in: the words that agent and trainer share.
//
// Two measures make a level, and a kernel may lack either, so a level is the set of those in force:
//
//   none      neither
//   seccomp   no new sockets, programs, processes or privileges; no look into other processes
//   landlock  files only beneath the roots, and what the libraries need to be read
//   full      both
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mantissa::process {

enum class SandboxLevel : unsigned { kNone = 0, kSeccomp = 1, kLandlock = 2, kFull = kSeccomp | kLandlock };

// The text above.
std::string_view SandboxLevelName(SandboxLevel level);

// Nothing for a text that is none of the four.
std::optional<SandboxLevel> ParseSandboxLevel(std::string_view text);

// Whether every measure of `required` is in force. `seccomp` does not satisfy `landlock`, nor the other way round.
bool Satisfies(SandboxLevel reached, SandboxLevel required);

// The version of Landlock's interface; 0 where the kernel has none, or was started without it.
int LandlockAbi();

// What this kernel lets a process do to itself. A trainer reports what it did reach, which may be less.
SandboxLevel KernelSandboxLevel();

}  // namespace mantissa::process
