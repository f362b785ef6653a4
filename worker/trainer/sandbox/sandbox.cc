#include "worker/trainer/sandbox/sandbox.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <link.h>
#include <linux/capability.h>
#include <set>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "process/log.h"
#include "worker/trainer/sandbox/every_thread.h"
#include "worker/trainer/sandbox/landlock.h"
#include "worker/trainer/sandbox/syscall_filter.h"

namespace mantissa::trainer {
namespace {

namespace fs = std::filesystem;
using process::Level;
using process::Log;
using process::SandboxLevel;

absl::Status LimitResources() {
  struct Limit {
    __rlimit_resource resource;
    rlim_t most;
  };
  for (const Limit& limit : {Limit{RLIMIT_CORE, 0}, Limit{RLIMIT_NOFILE, 4096}, Limit{RLIMIT_MSGQUEUE, 0},
                             Limit{RLIMIT_NICE, 0}, Limit{RLIMIT_RTPRIO, 0}}) {
    rlimit now{};
    if (::getrlimit(limit.resource, &now) != 0) return absl::ErrnoToStatus(errno, "reading a limit of resources");
    now.rlim_max = std::min(now.rlim_max, limit.most);
    now.rlim_cur = std::min(now.rlim_cur, now.rlim_max);
    if (::setrlimit(limit.resource, &now) != 0) return absl::ErrnoToStatus(errno, "setting a limit of resources");
  }
  return absl::OkStatus();
}

// A container's user may be root, and a root with capabilities reads other processes' environment whatever Landlock
// says of it. What is left lets root reach files of other owners, beneath the roots: without it a folder of another
// user's would be closed to a worker that root runs.
bool GiveUpCapabilities(int) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, capabilities) != 0) return false;
  constexpr std::uint32_t kKept = 1u << CAP_DAC_OVERRIDE;
  for (auto& half : capabilities) {
    const std::uint32_t kept = &half == capabilities ? kKept : 0;
    half.permitted &= kept;
    half.effective &= kept;
    half.inheritable = 0;
  }
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::syscall(SYS_capset, &header, capabilities) == 0;
}

// Where the libraries lie that are loaded: some open others beside them when they are first needed.
std::set<std::string> LibraryFolders() {
  std::set<std::string> folders;
  const auto add = [](dl_phdr_info* info, std::size_t, void* into) {
    std::error_code error;
    const fs::path library = fs::canonical(info->dlpi_name, error);
    if (!error && library.has_parent_path()) {
      static_cast<std::set<std::string>*>(into)->insert(library.parent_path().string());
    }
    return 0;
  };
  ::dl_iterate_phdr(add, &folders);
  folders.erase("/");
  return folders;
}

std::vector<FileRule> FilesNeeded(const std::vector<process::Root>& roots) {
  std::vector<FileRule> rules;
  for (const process::Root& root : roots) {
    rules.push_back({root.path, root.writable ? FileRights::kWrite : FileRights::kRead});
  }
  for (const std::string& folder : LibraryFolders()) rules.push_back({folder, FileRights::kRead});
  // /proc: how much memory is left; other processes' are closed by Landlock's own rule about tracing. The rest: what
  // the loader, the C library and CUDA look up late.
  for (const char* path : {"/proc", "/sys", "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/local/cuda",
                           "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"}) {
    rules.push_back({path, FileRights::kRead});
  }
  for (const char* path : {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/nvidia-caps"}) {
    rules.push_back({path, FileRights::kDevice});
  }
  std::error_code error;
  for (const auto& device : fs::directory_iterator("/dev", error)) {
    if (device.path().filename().string().starts_with("nvidia")) {
      rules.push_back({device.path().string(), FileRights::kDevice});
    }
  }
  rules.push_back({"/dev/dxg", FileRights::kDevice});
  return rules;
}

// True when it is in force; what the kernel lacks is said once.
absl::StatusOr<bool> InForce(const absl::Status& status, const char* measure) {
  if (status.ok()) return true;
  if (!absl::IsUnavailable(status) && !absl::IsFailedPrecondition(status)) return status;
  Log(Level::kWarning, "the sandbox lacks a measure", {{"measure", measure}, {"error", std::string(status.message())}});
  return false;
}

}  // namespace

absl::StatusOr<SandboxLevel> EnterSandbox(const std::vector<process::Root>& roots) {
  if (absl::Status limited = LimitResources(); !limited.ok()) return limited;
  unsigned level = 0;
  const absl::StatusOr<bool> capabilities = InForce(OnEveryThread(&GiveUpCapabilities, 0), "capabilities");
  if (!capabilities.ok()) return capabilities.status();
  const absl::StatusOr<bool> files = InForce(RestrictFiles(FilesNeeded(roots)), "landlock");
  if (!files.ok()) return files.status();
  if (*capabilities && *files) level |= static_cast<unsigned>(SandboxLevel::kLandlock);
  const absl::StatusOr<bool> calls = InForce(InstallFilter(TrainerFilter(::getpid())), "seccomp");
  if (!calls.ok()) return calls.status();
  if (*calls) level |= static_cast<unsigned>(SandboxLevel::kSeccomp);
  return static_cast<SandboxLevel>(level);
}

}  // namespace mantissa::trainer
