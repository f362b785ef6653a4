#include "worker/agent/launch/launcher_process.h"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <map>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "worker/agent/launch/launcher_message.h"
#include "worker/agent/launch/oom_watch.h"

namespace mantissa::agent {
namespace {

constexpr int kFramesDescriptor = 3;

// What a new process is given; made before the fork.
struct Streams {
  process::FileDescriptor frames, out, err;  // the process's ends
  process::FileDescriptor agent_frames, agent_out, agent_err;
  process::FileDescriptor error_read, error_write;  // closes at exec, carries errno when that fails
};

bool MakePipe(process::FileDescriptor& read_end, process::FileDescriptor& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  read_end = process::FileDescriptor(ends[0]);
  write_end = process::FileDescriptor(ends[1]);
  return true;
}

bool MakeStreams(Streams& streams) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return false;
  streams.agent_frames = process::FileDescriptor(pair[0]);
  streams.frames = process::FileDescriptor(pair[1]);
  return MakePipe(streams.agent_out, streams.out) && MakePipe(streams.agent_err, streams.err) &&
         MakePipe(streams.error_read, streams.error_write);
}

// In the child: from here to exec nothing may return.
[[noreturn]] void BecomeTrainer(const StartProcess& request, const Streams& streams, pid_t launcher) {
  const auto fail = [&streams] {
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(streams.error_write.get(), &error, sizeof(error));
    ::_exit(127);
  };
  ::setpgid(0, 0);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail();
  if (::getppid() != launcher) ::_exit(127);  // it died before prctl took effect
  // SIGINT, SIGTERM and SIGHUP stay ignored: systemd and Slurm send theirs to every process of a service, and a trainer
  // that died of it could write no checkpoint. Who asks it to go is the agent, and SIGKILL.
  for (int signal : {SIGPIPE, SIGCHLD}) ::signal(signal, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);

  // Copies above the range first, so that no dup2 overwrites a source still needed.
  const int above = 64;
  // When memory runs short, the kernel shall take a trainer before the agent.
  const process::FileDescriptor score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
  if (score.valid()) [[maybe_unused]]
    const ssize_t scored = ::write(score.get(), "500", 3);
  const int input = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int error_fd = ::fcntl(streams.error_write.get(), F_DUPFD_CLOEXEC, above);
  int sources[] = {input, streams.out.get(), streams.err.get(), streams.frames.get()};
  for (int& source : sources) {
    source = ::fcntl(source, F_DUPFD_CLOEXEC, above);
    if (source < 0) fail();
  }
  for (int target = 0; target <= kFramesDescriptor; ++target) {
    if (::dup2(sources[target], target) < 0) fail();
  }
  if (error_fd < 0 || ::fcntl(error_fd, F_SETFD, FD_CLOEXEC) != 0) fail();

  std::vector<char*> arguments, environment;
  for (const std::string& argument : request.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
  for (const std::string& variable : request.environment) environment.push_back(const_cast<char*>(variable.c_str()));
  arguments.push_back(nullptr);
  environment.push_back(nullptr);
  ::execve(arguments[0], arguments.data(), environment.data());
  const int error = errno;
  [[maybe_unused]] const ssize_t written = ::write(error_fd, &error, sizeof(error));
  ::_exit(127);
}

// Not thread-safe: the process has one thread.
class LauncherProcess {
 public:
  explicit LauncherProcess(process::FileDescriptor socket) : socket_(std::move(socket)) {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &children, nullptr);
    child_signal_ = process::FileDescriptor(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  }

  // Until the agent is gone.
  void Serve() {
    while (true) {
      pollfd ready[] = {{socket_.get(), POLLIN, 0}, {child_signal_.get(), POLLIN, 0}};
      if (::poll(ready, 2, -1) < 0 && errno != EINTR) return;
      signalfd_siginfo info;
      while (::read(child_signal_.get(), &info, sizeof(info)) > 0) {
      }
      if (!ReapAll()) return;
      if (ready[0].revents == 0) continue;
      absl::StatusOr<LauncherRequest> request = ReceiveRequest(socket_.get(), /*wait=*/false);
      if (absl::IsUnavailable(request.status())) continue;
      if (!request.ok() || !Handle(*request)) return;
    }
  }

  void KillAll() {
    for (const auto& [pid, id] : processes_) ::kill(-pid, SIGKILL);
    for (const auto& [pid, id] : processes_) ::waitpid(pid, nullptr, 0);
  }

 private:
  bool Handle(const LauncherRequest& request) {
    if (const auto* start = std::get_if<StartProcess>(&request)) return Start(*start);
    const auto& signal = std::get<SignalProcess>(request);
    for (const auto& [pid, id] : processes_) {
      if (id == signal.id) ::kill(-pid, signal.signal);
    }
    return true;
  }

  bool Start(const StartProcess& request) {
    Streams streams;
    if (!MakeStreams(streams)) return Send(socket_.get(), ProcessNotStarted{request.id, errno}).ok();
    const pid_t launcher = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) return Send(socket_.get(), ProcessNotStarted{request.id, errno}).ok();
    if (pid == 0) BecomeTrainer(request, streams, launcher);
    ::setpgid(pid, pid);  // both sides, so that a signal sent at once finds the group; after exec it fails, harmlessly
    streams.error_write.Close();
    streams.frames.Close();
    streams.out.Close();
    streams.err.Close();
    int error = 0;
    ssize_t size = 0;
    while ((size = ::read(streams.error_read.get(), &error, sizeof(error))) < 0 && errno == EINTR) {
    }
    if (size == sizeof(error)) {
      ::waitpid(pid, nullptr, 0);
      return Send(socket_.get(), ProcessNotStarted{request.id, error}).ok();
    }
    processes_[pid] = request.id;
    return Send(socket_.get(), ProcessStarted{request.id, pid, std::move(streams.agent_frames),
                                              std::move(streams.agent_out), std::move(streams.agent_err)})
        .ok();
  }

  // False when the agent is gone.
  bool ReapAll() {
    while (true) {
      siginfo_t info{};
      // First a look: until it is reaped its process group's number can't be given to anybody else.
      if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return true;
      const pid_t pid = info.si_pid;
      ::kill(-pid, SIGKILL);  // what the trainer may have started itself
      int wait_status = 0;
      if (::waitpid(pid, &wait_status, 0) != pid) return true;
      const auto found = processes_.find(pid);
      if (found == processes_.end()) continue;
      const bool killed = WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL;
      const ProcessEnded ended{found->second, wait_status, killed && oom_watch_.Explains(pid)};
      processes_.erase(found);
      if (!Send(socket_.get(), ended).ok()) return false;
    }
  }

  process::FileDescriptor socket_;
  process::FileDescriptor child_signal_;
  OomWatch oom_watch_;
  std::map<pid_t, std::uint64_t> processes_;  // pid -> the agent's id
};

}  // namespace

void RunLauncher(process::FileDescriptor socket) {
  ::prctl(PR_SET_NAME, "mantissa-launch");
  // A terminal's Ctrl-C and a supervisor's SIGTERM are the agent's to answer: it ends the trainers in order.
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(signal, SIG_IGN);
  // Nothing else that the agent had open may live on here, least of all another socket's end.
  constexpr int kSocket = 3;
  if (socket.get() != kSocket) {
    ::dup3(socket.get(), kSocket, O_CLOEXEC);
    socket = process::FileDescriptor(kSocket);
  }
  ::close_range(kSocket + 1, ~0U, 0);
  LauncherProcess launcher(std::move(socket));
  launcher.Serve();
  launcher.KillAll();
  ::_exit(0);
}

}  // namespace mantissa::agent
