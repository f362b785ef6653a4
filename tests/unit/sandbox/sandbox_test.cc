// What can't be undone is done in children. What a whole trainer can't do is in tests/integration/test_sandbox.py.
#include "worker/trainer/sandbox/sandbox.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "worker/trainer/sandbox/every_thread.h"
#include "worker/trainer/sandbox/landlock.h"
#include "worker/trainer/sandbox/syscall_filter.h"

namespace mantissa::trainer {
namespace {

namespace fs = std::filesystem;
using process::SandboxLevel;

// The line of the first check that failed in a child, 0 where all held.
int InChild(const std::function<int()>& checks) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(checks());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}
#define HOLDS(condition) \
  if (!(condition)) return __LINE__

bool Opens(const fs::path& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

class SandboxTest : public testing::Test {
 protected:
  SandboxTest() {
    for (const char* name : {"data", "checkpoints", "outside"}) {
      fs::create_directories(folder_ / name);
      std::ofstream(folder_ / name / "file") << "x";
    }
    roots_ = {{"data", (folder_ / "data").string(), false}, {"checkpoints", (folder_ / "checkpoints").string(), true}};
  }
  ~SandboxTest() override { fs::remove_all(folder_); }

  const fs::path folder_ = fs::path(testing::TempDir()) / ("sandbox-" + std::to_string(::getpid()));
  std::vector<process::Root> roots_;
};

TEST_F(SandboxTest, ReachesWhatTheKernelHas) {
  EXPECT_EQ(InChild([&] {
              const auto level = EnterSandbox(roots_);
              HOLDS(level.ok() && *level == process::KernelSandboxLevel());
              rlimit core{};
              HOLDS(::getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0);
              HOLDS(::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
              return 0;
            }),
            0);
}

TEST_F(SandboxTest, RootsAreReachedAsFarAsTheyGo) {
  if (process::LandlockAbi() == 0) GTEST_SKIP() << "SKIPPED: this kernel has no Landlock";
  EXPECT_EQ(
      InChild([&] {
        HOLDS(EnterSandbox(roots_).ok());
        HOLDS(Opens(folder_ / "data/file", O_RDONLY));
        HOLDS(!Opens(folder_ / "data/file", O_WRONLY) && errno == EACCES);
        HOLDS(!Opens(folder_ / "data/new", O_WRONLY | O_CREAT) && errno == EACCES);
        HOLDS(Opens(folder_ / "checkpoints/file", O_RDWR | O_TRUNC));
        HOLDS(::mkdir((folder_ / "checkpoints/job").c_str(), 0700) == 0);
        HOLDS(Opens(folder_ / "checkpoints/job/.new.tmp", O_WRONLY | O_CREAT));
        HOLDS(::rename((folder_ / "checkpoints/job/.new.tmp").c_str(), (folder_ / "checkpoints/job/new").c_str()) == 0);
        HOLDS(::unlink((folder_ / "checkpoints/job/new").c_str()) == 0);
        HOLDS(::rmdir((folder_ / "checkpoints/job").c_str()) == 0);
        HOLDS(::symlink("/", (folder_ / "checkpoints/link").c_str()) != 0 && errno == EACCES);
        HOLDS(!Opens(folder_ / "outside/file", O_RDONLY) && errno == EACCES);
        HOLDS(!Opens(folder_, O_RDONLY | O_DIRECTORY) && errno == EACCES);
        HOLDS(Opens("/dev/urandom", O_RDONLY) && Opens("/proc/meminfo", O_RDONLY));
        return 0;
      }),
      0);
}

TEST_F(SandboxTest, ThreadsThatAreThereAlreadyAreShutInToo) {
  if (process::LandlockAbi() == 0) GTEST_SKIP() << "SKIPPED: this kernel has no Landlock";
  EXPECT_EQ(InChild([&] {
              sem_t entered, tried;
              ::sem_init(&entered, 0, 0);
              ::sem_init(&tried, 0, 0);
              std::atomic<int> escapes = 0;
              for (int i = 0; i < 8; ++i) {
                std::thread([&] {
                  while (::sem_wait(&entered) != 0) {
                  }
                  if (Opens(folder_ / "outside/file", O_RDONLY)) ++escapes;
                  if (::socket(AF_INET, SOCK_STREAM, 0) >= 0) ++escapes;
                  ::sem_post(&tried);
                }).detach();
              }
              const auto level = EnterSandbox(roots_);
              HOLDS(level.ok() && *level == process::KernelSandboxLevel());
              for (int i = 0; i < 8; ++i) ::sem_post(&entered);
              for (int i = 0; i < 8; ++i) ::sem_wait(&tried);
              HOLDS(escapes == 0);
              return 0;
            }),
            0);
}

// As CUDA's may be. The level says so: it is not claimed that files are out of reach.
TEST_F(SandboxTest, AThreadThatCannotBeAskedLowersTheLevel) {
  EXPECT_EQ(InChild([&] {
              sem_t blocked;
              ::sem_init(&blocked, 0, 0);
              std::thread([&blocked] {
                sigset_t all;
                ::sigfillset(&all);
                ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
                ::sem_post(&blocked);
                while (true) ::pause();
              }).detach();
              ::sem_wait(&blocked);
              HOLDS(absl::IsFailedPrecondition(OnEveryThread([](int) { return true; }, 0)));
              const auto level = EnterSandbox(roots_);
              HOLDS(level.ok() && *level == SandboxLevel::kSeccomp);
              HOLDS(process::LandlockAbi() == 0 || !Opens(folder_ / "outside/file", O_RDONLY));
              return 0;
            }),
            0);
}

TEST_F(SandboxTest, AThreadThatFailsIsSaid) {
  EXPECT_FALSE(OnEveryThread([](int) { return false; }, 0).ok());
  EXPECT_TRUE(OnEveryThread([](int argument) { return argument == 7; }, 7).ok());
}

TEST_F(SandboxTest, TheFilterLeavesThreadsAndTakesProcesses) {
  EXPECT_EQ(InChild([&] {
              HOLDS(InstallFilter(TrainerFilter(::getpid())).ok());
              std::atomic<bool> ran = false;
              std::thread([&ran] { ran = true; }).join();
              HOLDS(ran);
              HOLDS(::kill(::getpid(), 0) == 0 && ::kill(::getppid(), 0) != 0 && errno == EPERM);
              HOLDS(::kill(0, 0) != 0 && ::kill(-1, 0) != 0);
              HOLDS(::socket(AF_UNIX, SOCK_STREAM, 0) < 0 && errno == EPERM);
#if !defined(__SANITIZE_ADDRESS__)  // whose search for leaks starts a process
              HOLDS(::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr) < 0 && errno == EPERM);
              HOLDS(::syscall(SYS_clone3, nullptr, 0) < 0 && errno == ENOSYS);
#endif
              HOLDS(::syscall(100'000) < 0 && errno == ENOSYS);
              HOLDS(::execl("/bin/true", "true", nullptr) < 0 && errno == EPERM);
              rlimit limit{};
              HOLDS(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
              HOLDS(::prlimit(::getppid(), RLIMIT_NOFILE, nullptr, &limit) != 0 && errno == EPERM);
              HOLDS(::prctl(PR_SET_NAME, "named") == 0 && ::prctl(PR_SET_PDEATHSIG, 0) != 0 && errno == EPERM);
              return 0;
            }),
            0);
}

// The same numbers mean other calls there.
TEST_F(SandboxTest, ACallOfAnotherArchitectureEndsTheProcess) {
#if defined(__x86_64__)
  const int ended = InChild([] {
    HOLDS(InstallFilter(TrainerFilter(::getpid())).ok());
    ::syscall(0x40000000 | SYS_getpid);  // x32
    return 0;
  });
  EXPECT_TRUE(WIFSIGNALED(ended - 1000)) << ended;
#else
  GTEST_SKIP() << "SKIPPED: only x86-64 has a second set of numbers in one process";
#endif
}

TEST_F(SandboxTest, AbortStillWorks) {
  const int ended = InChild([]() -> int {
    HOLDS(InstallFilter(TrainerFilter(::getpid())).ok());
    std::abort();
  });
  EXPECT_TRUE(WIFSIGNALED(ended - 1000) && WTERMSIG(ended - 1000) == SIGABRT) << ended;
}

}  // namespace
}  // namespace mantissa::trainer
