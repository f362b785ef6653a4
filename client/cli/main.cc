#include <cstdlib>
#include <string>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vector>

#include "client/cli/command_line.h"
#include "client/cli/console.h"
#include "process/clock.h"
#include "process/settings.h"

namespace {

// Of whichever stream is a terminal; 80 where none is.
int TerminalWidth() {
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    winsize size = {};
    if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  }
  return 80;
}

}  // namespace

int main(int argc, char** argv) {
  // gRPC's own log lines would stand between ours; its errors reach the user through the calls that fail.
  ::setenv("GRPC_VERBOSITY", "NONE", 0);  // NOLINT(concurrency-mt-unsafe): no thread is running yet
  // While no call is open, nothing but a timer drives the connections of a channel, every five seconds by default:
  // after a take-over a follower came back late, and never over TLS, whose handshake then lasts longer than a connect
  // may take.
  ::setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "100", 0);  // NOLINT(concurrency-mt-unsafe)
  mantissa::cli::FdOutput out(STDOUT_FILENO);
  mantissa::cli::FdOutput err(STDERR_FILENO);
  const mantissa::process::RealClock clock;
  return mantissa::cli::RunCommandLine(std::vector<std::string>(argv + 1, argv + argc),
                                       {.out = out,
                                        .err = err,
                                        .out_is_terminal = ::isatty(STDOUT_FILENO) == 1,
                                        .err_is_terminal = ::isatty(STDERR_FILENO) == 1,
                                        .width = TerminalWidth,
                                        .environment = mantissa::process::ProcessEnvironment(),
                                        .clock = clock});
}
