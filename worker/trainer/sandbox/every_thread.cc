#include "worker/trainer/sandbox/every_thread.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <dirent.h>
#include <fstream>
#include <memory>
#include <semaphore.h>
#include <set>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace mantissa::trainer {
namespace {

struct Invitation {
  std::atomic<bool (*)(int)> action{nullptr};
  std::atomic<int> argument{0};
  std::atomic<bool> done{false};
  sem_t answered;
};
Invitation invitation;

void OnInvited(int) {
  const int kept = errno;
  if (const auto action = invitation.action.load(); action != nullptr) {
    invitation.done.store(action(invitation.argument.load()));
    ::sem_post(&invitation.answered);
  }
  errno = kept;
}

std::set<pid_t> OtherThreads() {
  std::set<pid_t> threads;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/proc/self/task"), &::closedir);
  while (const dirent* entry = folder == nullptr ? nullptr : ::readdir(folder.get())) {
    const pid_t thread = std::atoi(entry->d_name);
    if (thread > 0 && thread != ::gettid()) threads.insert(thread);
  }
  return threads;
}

bool Blocks(pid_t thread, int signal) {
  std::ifstream status(absl::StrCat("/proc/self/task/", thread, "/status"));
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("SigBlk:")) continue;
    return (std::strtoull(line.c_str() + std::strlen("SigBlk:"), nullptr, 16) >> (signal - 1) & 1) != 0;
  }
  return false;  // it has gone meanwhile
}

// One that is being made blocks all signals until it runs; one that still does after a while means to.
bool KeepsBlocking(pid_t thread, int signal) {
  constexpr int kLooks = 250;
  constexpr timespec kBetween{0, 2'000'000};
  for (int look = 0; look < kLooks; ++look) {
    if (!Blocks(thread, signal)) return false;
    ::nanosleep(&kBetween, nullptr);
  }
  return true;
}

// False where the thread lives on and has not done it.
bool Invite(pid_t thread, int signal) {
  constexpr int kMostSeconds = 5;  // it may be in the kernel, and comes back from there
  if (KeepsBlocking(thread, signal)) return false;
  if (::syscall(SYS_tgkill, ::getpid(), thread, signal) != 0) return errno == ESRCH;
  timespec until{};
  ::clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += kMostSeconds;
  while (::sem_clockwait(&invitation.answered, CLOCK_MONOTONIC, &until) != 0) {
    if (errno != EINTR) return OtherThreads().count(thread) == 0;
  }
  return invitation.done.load();
}

}  // namespace

absl::Status OnEveryThread(bool (*action)(int), int argument) {
  const int signal = SIGRTMAX - 1;
  struct sigaction answer {
  }, before{};
  answer.sa_handler = &OnInvited;
  answer.sa_flags = SA_RESTART;
  if (::sem_init(&invitation.answered, 0, 0) != 0 || ::sigaction(signal, &answer, &before) != 0) {
    return absl::ErrnoToStatus(errno, "asking the threads of this process");
  }
  invitation.argument.store(argument);
  invitation.action.store(action);
  std::set<pid_t> asked;
  int failed = 0;
  // A thread that was not asked yet may start one more while we go through them.
  for (bool more = true; more;) {
    more = false;
    for (const pid_t thread : OtherThreads()) {
      if (!asked.insert(thread).second) continue;
      more = true;
      if (!Invite(thread, signal)) ++failed;
    }
  }
  invitation.action.store(nullptr);
  ::sigaction(signal, &before, nullptr);
  if (!action(argument)) ++failed;
  if (failed == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(failed, " of ", asked.size() + 1, " threads could not do it"));
}

}  // namespace mantissa::trainer
