#include "process/sandbox_level.h"

#include <algorithm>
#include <array>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace mantissa::process {
namespace {

constexpr std::array<std::pair<SandboxLevel, std::string_view>, 4> kNames = {{{SandboxLevel::kNone, "none"},
                                                                              {SandboxLevel::kSeccomp, "seccomp"},
                                                                              {SandboxLevel::kLandlock, "landlock"},
                                                                              {SandboxLevel::kFull, "full"}}};

bool KernelHasSeccomp() {
  const unsigned action = SECCOMP_RET_ERRNO;
  return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

}  // namespace

std::string_view SandboxLevelName(SandboxLevel level) { return kNames[static_cast<unsigned>(level)].second; }

std::optional<SandboxLevel> ParseSandboxLevel(std::string_view text) {
  const auto* found =
      std::find_if(kNames.begin(), kNames.end(), [text](const auto& name) { return name.second == text; });
  if (found == kNames.end()) return std::nullopt;
  return found->first;
}

bool Satisfies(SandboxLevel reached, SandboxLevel required) {
  return (static_cast<unsigned>(reached) & static_cast<unsigned>(required)) == static_cast<unsigned>(required);
}

int LandlockAbi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

SandboxLevel KernelSandboxLevel() {
  unsigned level = 0;
  if (KernelHasSeccomp()) level |= static_cast<unsigned>(SandboxLevel::kSeccomp);
  if (LandlockAbi() > 0) level |= static_cast<unsigned>(SandboxLevel::kLandlock);
  return static_cast<SandboxLevel>(level);
}

}  // namespace mantissa::process
