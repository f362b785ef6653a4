#include "tests/support/side_process.h"

#include <cerrno>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

namespace mantissa::tests {

SideProcess::SideProcess(std::vector<std::string> command, const std::string& folder, const std::string& log) {
  // setpriv asks for the signal after it has changed the user, which would clear it, and then becomes the program.
  std::vector<std::string> words = {"setpriv", "--pdeathsig", "QUIT"};
  if (::geteuid() == 0) {
    words.insert(words.end(), {"--reuid", "postgres", "--regid", "postgres", "--clear-groups"});
  }
  words.emplace_back("--");
  words.insert(words.end(), command.begin(), command.end());
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
  ::posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  // A shell ignores SIGQUIT and SIGINT for what it runs in the background, and that is inherited.
  sigset_t all, none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  if (::posix_spawnp(&pid_, arguments[0], &actions, &attributes, arguments.data(), environ) != 0) pid_ = -1;
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
}

SideProcess::~SideProcess() { Quit(); }

bool SideProcess::Running() {
  int status = 0;
  if (pid_ >= 0 && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    pid_ = -1;
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  return pid_ >= 0;
}

int SideProcess::Wait() {
  int status = 0;
  while (pid_ >= 0) {
    const pid_t ended = ::waitpid(pid_, &status, 0);
    if (ended < 0 && errno == EINTR) continue;
    pid_ = -1;
    code_ = ended >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  return code_;
}

void SideProcess::Signal(int signal) {
  if (pid_ >= 0) ::kill(pid_, signal);
}

void SideProcess::Quit() {
  Signal(SIGQUIT);
  Wait();
}

void GiveToSideProcesses(const std::string& path) {
  const passwd* user = ::geteuid() == 0 ? ::getpwnam("postgres") : nullptr;
  if (user != nullptr && ::chown(path.c_str(), user->pw_uid, user->pw_gid) != 0) return;
}

}  // namespace mantissa::tests
