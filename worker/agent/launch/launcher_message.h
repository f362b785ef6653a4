// What agent and launcher say to each other. They are the same binary, so the encoding is private to it: one message is
// one packet of a SOCK_SEQPACKET socketpair.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/file_descriptor.h"

namespace mantissa::agent {

// Agent to launcher.

struct StartProcess {
  std::uint64_t id = 0;                  // the agent's choice, never used twice
  std::vector<std::string> arguments;    // the first is the program's path
  std::vector<std::string> environment;  // NAME=value; nothing else is passed on
};

struct SignalProcess {
  std::uint64_t id = 0;
  int signal = 0;  // goes to the whole process group
};

// Launcher to agent.

struct ProcessStarted {
  std::uint64_t id = 0;
  pid_t pid = 0;
  process::FileDescriptor frames;  // the agent's end of what the process has as descriptor 3
  process::FileDescriptor out;
  process::FileDescriptor err;
};

struct ProcessNotStarted {
  std::uint64_t id = 0;
  int error = 0;  // errno
};

struct ProcessEnded {
  std::uint64_t id = 0;
  int wait_status = 0;         // as waitpid(2) has it
  bool out_of_memory = false;  // the kernel killed it for want of memory
};

using LauncherRequest = std::variant<StartProcess, SignalProcess>;
using LauncherEvent = std::variant<ProcessStarted, ProcessNotStarted, ProcessEnded>;

// Both send block until the packet is handed to the kernel; both receive return OUT_OF_RANGE when the other end is gone
// and UNAVAILABLE when nothing is there (with `wait` false).
absl::Status Send(int socket, const LauncherRequest& request);
absl::Status Send(int socket, const LauncherEvent& event);
absl::StatusOr<LauncherRequest> ReceiveRequest(int socket, bool wait);
absl::StatusOr<LauncherEvent> ReceiveEvent(int socket, bool wait);

}  // namespace mantissa::agent
