// A trainer gone bad: the real one, which in the middle of its training tries everything that its sandbox is for.
//
// It comes to its turn at the C library's door: this program defines fsync itself, which a trainer calls when it saves
// a checkpoint. Each trial is made by the thread that trains and by one that was there before the trainer was bound,
// and printed to stdout, the job's log, as `ESCAPE <thread> <trial> <errno>`, 0 being an escape. The same is tried
// before the trainer is bound, as `CONTROL`: what can't be done there proves nothing later.
//
// TORCH_ESCAPE_SECRET names a file outside the roots, TORCH_ESCAPE_DATA one in a read-only root (names that a launcher
// lets through).
#include <array>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <functional>
#include <mutex>
#include <netinet/in.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

// The launcher's parent.
pid_t AgentOf(pid_t launcher) {
  std::ifstream stat("/proc/" + std::to_string(launcher) + "/stat");
  std::string text;
  std::getline(stat, text);
  int parent = 0;
  if (text.rfind(')') == std::string::npos || std::sscanf(text.c_str() + text.rfind(')'), ") %*c %d", &parent) != 1) {
    return 0;
  }
  return parent;
}

struct Targets {
  pid_t agent = AgentOf(::getppid());
  std::string secret = TextOf("TORCH_ESCAPE_SECRET");
  std::string data = TextOf("TORCH_ESCAPE_DATA");

  static std::string TextOf(const char* name) {
    const char* text = std::getenv(name);
    return text == nullptr ? "" : text;
  }
};

int Done(long result) {
  if (result < 0) return errno;
  return 0;
}

int Opened(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

int Connected(int domain) {
  const int type = domain == AF_NETLINK ? SOCK_RAW : SOCK_STREAM;
  const int fd = ::socket(domain, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

// A child that ends at once, or runs a program.
int Forked(bool executes) {
  const pid_t child = static_cast<pid_t>(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (child < 0) return errno;
  if (child == 0) {
    if (executes) ::execl("/bin/true", "true", nullptr);
    ::_exit(executes ? 1 : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? 0 : EPERM;
}

int Traced(pid_t process) {
  if (::ptrace(PTRACE_SEIZE, process, nullptr, nullptr) != 0) return errno;
  ::ptrace(PTRACE_DETACH, process, nullptr, nullptr);
  return 0;
}

int ReadOf(pid_t process) {
  char byte = 0;
  iovec here{&byte, 1}, there{&byte, 1};
  return ::process_vm_readv(process, &here, 1, &there, 1, 0) < 0 && errno != EFAULT ? errno : 0;
}

struct Trial {
  const char* name;
  bool harmless;  // may succeed before the trainer is bound
  std::function<int()> run;
};

std::vector<Trial> Trials(const Targets& to) {
  const std::string agent = "/proc/" + std::to_string(to.agent);
  static const std::array<char*, 2> kArguments = {const_cast<char*>("true"), nullptr};
  return {
      {"socket_inet", true, [] { return Connected(AF_INET); }},
      {"socket_inet6", true, [] { return Connected(AF_INET6); }},
      {"socket_unix", true, [] { return Connected(AF_UNIX); }},
      {"socket_netlink", true, [] { return Connected(AF_NETLINK); }},
      {"fork", true, [] { return Forked(false); }},
      {"fork_and_exec", true, [] { return Forked(true); }},
      {"exec", false, [] { return Done(::execv("/bin/true", kArguments.data())); }},
      {"read_secret", true, [to] { return Opened(to.secret, O_RDONLY); }},
      {"read_secret_by_dots", true, [to] { return Opened("/proc/self/root/.." + to.secret, O_RDONLY); }},
      {"write_secret", true, [to] { return Opened(to.secret, O_WRONLY); }},
      {"truncate_secret", false, [to] { return Done(::truncate(to.secret.c_str(), 0)); }},
      {"chmod_secret", false, [to] { return Done(::chmod(to.secret.c_str(), 0777)); }},
      {"unlink_secret", false, [to] { return Done(::unlink(to.secret.c_str())); }},
      {"link_secret", false, [to] { return Done(::link(to.secret.c_str(), (to.secret + ".link").c_str())); }},
      {"symlink_beside_secret", false, [to] { return Done(::symlink("/", (to.secret + ".symlink").c_str())); }},
      {"folder_beside_secret", false, [to] { return Done(::mkdir((to.secret + ".folder").c_str(), 0700)); }},
      {"read_passwd", true, [] { return Opened("/etc/passwd", O_RDONLY); }},
      {"write_in_tmp", false, [] { return Opened("/tmp", O_TMPFILE | O_WRONLY); }},
      {"write_data", false, [to] { return Opened(to.data, O_WRONLY); }},
      {"unlink_data", false, [to] { return Done(::unlink(to.data.c_str())); }},
      {"agent_environment", true, [agent] { return Opened(agent + "/environ", O_RDONLY); }},
      {"agent_memory", true, [agent] { return Opened(agent + "/mem", O_RDONLY); }},
      {"agent_files", true, [agent] { return Opened(agent + "/fd/0", O_RDONLY); }},
      {"agent_root", true, [agent, to] { return Opened(agent + "/root" + to.secret, O_RDONLY); }},
      {"agent_folder", true, [agent] { return Opened(agent + "/cwd", O_RDONLY | O_DIRECTORY); }},
      {"agent_read", true, [to] { return ReadOf(to.agent); }},
      {"agent_ptrace", true, [to] { return Traced(to.agent); }},
      {"agent_signal", true, [to] { return Done(::kill(to.agent, 0)); }},
      {"agent_pidfd", true, [to] { return Done(::syscall(SYS_pidfd_open, to.agent, 0)); }},
      {"outlive_launcher", false, [] { return Done(::prctl(PR_SET_PDEATHSIG, 0)); }},
      {"own_session", false, [] { return Done(::setsid()); }},
      {"unshare", false, [] { return Done(::unshare(CLONE_NEWUSER)); }},
      {"mount", false, [] { return Done(::mount("none", "/tmp", "tmpfs", 0, nullptr)); }},
      {"io_uring", false, [] { return Done(::syscall(SYS_io_uring_setup, 1, nullptr)); }},
      {"kernel_core_pattern", false, [] { return Opened("/proc/sys/kernel/core_pattern", O_WRONLY); }},
      {"own_memory_score", false, [] { return Opened("/proc/self/oom_score_adj", O_WRONLY); }},
  };
}

std::mutex mutex;
std::condition_variable turn;
std::string report;
enum class Stage { kWaiting, kBystander, kDone } stage = Stage::kWaiting;

void Try(const char* who, const Targets& targets) {
  for (const Trial& trial : Trials(targets)) {
    report += std::string(who) + " " + trial.name + " " + std::to_string(trial.run()) + "\n";
  }
}

// Before main: the process is as the launcher made it.
const struct Prisoner {
  Targets targets;

  Prisoner() {
    for (const Trial& trial : Trials(targets)) {
      if (trial.harmless) report += std::string("CONTROL ") + trial.name + " " + std::to_string(trial.run()) + "\n";
    }
    std::thread([this] {
      std::unique_lock lock(mutex);
      turn.wait(lock, [] { return stage == Stage::kBystander; });
      Try("ESCAPE bystander", targets);
      stage = Stage::kDone;
      turn.notify_all();
    }).detach();
  }
} prisoner;

void TryOnce() {
  std::unique_lock lock(mutex);
  if (stage != Stage::kWaiting) return;
  Try("ESCAPE trainer", prisoner.targets);
  stage = Stage::kBystander;
  turn.notify_all();
  turn.wait(lock, [] { return stage == Stage::kDone; });
  std::fputs(report.c_str(), stdout);
  std::fflush(stdout);
}

}  // namespace

extern "C" int fsync(int fd) {
  TryOnce();
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
