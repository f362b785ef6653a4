#include "worker/agent/launch/launcher.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "worker/agent/launch/launcher_process.h"

namespace mantissa::agent {
namespace {

constexpr auto kKeptNames = std::to_array<std::string_view>(
    {"PATH", "HOME", "USER", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS",
     "TSAN_OPTIONS", "LSAN_OPTIONS", "MANTISSA_FAILPOINTS", "MANTISSA_LOG_LEVEL", "MANTISSA_LOG_FORMAT"});
constexpr auto kKeptPrefixes =
    std::to_array<std::string_view>({"LC_", "CUDA_", "CUBLAS_", "CUDNN_", "NVIDIA_", "NCCL_", "OMP_", "GOMP_", "KMP_",
                                     "MKL_", "DNNL_", "ONEDNN_", "OPENBLAS_", "ATEN_", "TORCH_", "PYTORCH_"});

constexpr std::string_view kCudaOrder = "CUDA_DEVICE_ORDER";

}  // namespace

absl::StatusOr<Launcher> Launcher::Fork() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
    return absl::ErrnoToStatus(errno, "making the launcher's socket");
  }
  process::FileDescriptor agent_end(pair[0]), launcher_end(pair[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return absl::ErrnoToStatus(errno, "forking the launcher");
  if (pid == 0) {
    agent_end.Close();  // else the launcher would hold the very end whose closing it waits for
    RunLauncher(std::move(launcher_end));
  }
  return Launcher(std::move(agent_end), pid);
}

Launcher::~Launcher() {
  if (!socket_.valid()) return;  // moved from
  socket_.Close();
  ::waitpid(pid_, nullptr, 0);
}

absl::Status Launcher::Start(const StartProcess& request) { return Send(socket_.get(), LauncherRequest(request)); }

absl::Status Launcher::Signal(std::uint64_t id, int signal) {
  return Send(socket_.get(), LauncherRequest(SignalProcess{id, signal}));
}

absl::StatusOr<std::optional<LauncherEvent>> Launcher::Next() {
  absl::StatusOr<LauncherEvent> event = ReceiveEvent(socket_.get(), /*wait=*/false);
  if (absl::IsUnavailable(event.status())) return std::optional<LauncherEvent>();
  if (!event.ok()) return event.status();
  return std::optional<LauncherEvent>(std::move(*event));
}

std::vector<std::string> TrainerEnvironment(const char* const* environment) {
  std::vector<std::string> kept;
  bool ordered = false;
  for (; environment != nullptr && *environment != nullptr; ++environment) {
    const std::string_view variable(*environment);
    const std::string_view name = variable.substr(0, variable.find('='));
    const bool by_name = std::find(kKeptNames.begin(), kKeptNames.end(), name) != kKeptNames.end();
    const bool by_prefix = std::any_of(kKeptPrefixes.begin(), kKeptPrefixes.end(),
                                       [name](std::string_view prefix) { return name.starts_with(prefix); });
    if (by_name || by_prefix) kept.emplace_back(variable);
    ordered |= name == kCudaOrder;
  }
  // So that cuda-1 is the GPU that nvidia-smi and DCGM call 1, too; by default CUDA puts the fastest first.
  if (!ordered) kept.push_back(absl::StrCat(std::string(kCudaOrder), "=PCI_BUS_ID"));
  return kept;
}

}  // namespace mantissa::agent
