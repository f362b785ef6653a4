// The agent's side of the launcher.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/file_descriptor.h"
#include "worker/agent/launch/launcher_message.h"

namespace mantissa::agent {

// Note [Launcher before threads]
// The launcher is forked by main() before the process has a second thread or any gRPC object: gRPC does not survive
// fork, and a child of a process with threads may call almost nothing before exec. It has to be a process of its own
// also because PDEATHSIG fires when the *thread* that forked ends, not the process.
//
// Destroying the Launcher closes the socket, upon which the launcher kills every trainer and ends. Not thread-safe.
class Launcher {
 public:
  // Forks; the child never returns from this call.
  static absl::StatusOr<Launcher> Fork();

  Launcher(Launcher&&) = default;
  Launcher& operator=(Launcher&&) = delete;
  ~Launcher();

  // Answered by ProcessStarted or ProcessNotStarted, later by ProcessEnded.
  absl::Status Start(const StartProcess& request);

  // Sends a signal to the process group; no effect on one that has ended.
  absl::Status Signal(std::uint64_t id, int signal);

  // Readable when an event is there.
  int fd() const { return socket_.get(); }

  // The next event, without waiting. OUT_OF_RANGE: the launcher is dead, and with it every trainer.
  absl::StatusOr<std::optional<LauncherEvent>> Next();

  pid_t pid() const { return pid_; }

 private:
  Launcher(process::FileDescriptor socket, pid_t pid) : socket_(std::move(socket)), pid_(pid) {}

  process::FileDescriptor socket_;
  pid_t pid_;
};

// What a trainer needs of the agent's environment: loader, locale, threads, CUDA, sanitizers. Tokens and settings of
// the agent stay behind.
std::vector<std::string> TrainerEnvironment(const char* const* environment);

}  // namespace mantissa::agent
