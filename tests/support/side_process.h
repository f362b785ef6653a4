// A program that runs beside a test.
#pragma once

#include <string>
#include <sys/types.h>
#include <vector>

namespace mantissa::tests {

// Runs as the user `postgres` where the test is root: PostgreSQL's programs refuse to run as root. Is killed when this
// object goes, and, should the test itself be killed, when the thread that made it ends. Not thread-safe.
class SideProcess {
 public:
  // In `folder`, with its output at the end of the file `log`.
  SideProcess(std::vector<std::string> command, const std::string& folder, const std::string& log);
  ~SideProcess();
  SideProcess(const SideProcess&) = delete;
  SideProcess& operator=(const SideProcess&) = delete;

  bool Running();
  // Its exit code, once it has ended; -1 when it was killed or could not be started.
  int Wait();
  void Signal(int signal);
  // Sends SIGQUIT, at which PostgreSQL's programs end at once, and waits.
  void Quit();

 private:
  pid_t pid_ = -1;  // -1: ended
  int code_ = -1;
};

// Gives a file or a folder to the user that side processes run as.
void GiveToSideProcesses(const std::string& path);

}  // namespace mantissa::tests
