#include "worker/agent/launch/launcher.h"

#include <array>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/frame.h"

namespace mantissa::agent {
namespace {

constexpr int kPatienceMs = 20'000;  // for something that comes in a moment

// True when the process is gone, however it ended and whoever reaped it.
bool AwaitGone(pid_t pid) {
  const process::FileDescriptor watch(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!watch.valid()) return errno == ESRCH;
  pollfd ready{watch.get(), POLLIN, 0};
  return ::poll(&ready, 1, kPatienceMs) == 1;
}

class LauncherTest : public testing::Test {
 protected:
  template <class Event>
  Event Await() {
    while (true) {
      absl::StatusOr<std::optional<LauncherEvent>> event = launcher_.Next();
      if (!event.ok()) {
        ADD_FAILURE() << event.status();
        return {};
      }
      if (event->has_value()) {
        Event* wanted = std::get_if<Event>(&**event);
        EXPECT_NE(wanted, nullptr) << "another event came first: number " << (*event)->index();
        return wanted == nullptr ? Event{} : std::move(*wanted);
      }
      pollfd ready{launcher_.fd(), POLLIN, 0};
      if (::poll(&ready, 1, kPatienceMs) != 1) {
        ADD_FAILURE() << "no event";
        return {};
      }
    }
  }
  ProcessStarted StartTrainer(std::uint64_t id = 1) {
    EXPECT_TRUE(launcher_.Start({id, {FAKE_TRAINER, "--frames-fd", "3", "--device", "cpu"}, {}}).ok());
    return Await<ProcessStarted>();
  }
  ProcessEnded RunShell(const std::string& script, std::string* out = nullptr,
                        std::vector<std::string> environment = {}) {
    EXPECT_TRUE(launcher_.Start({7, {"/bin/sh", "-c", script}, std::move(environment)}).ok());
    const ProcessStarted started = Await<ProcessStarted>();
    if (out != nullptr) {
      std::array<char, 4096> chunk;
      ssize_t size = 0;
      while ((size = ::read(started.out.get(), chunk.data(), chunk.size())) > 0) {
        out->append(chunk.data(), static_cast<std::size_t>(size));
      }
    }
    return Await<ProcessEnded>();
  }

  Launcher launcher_ = *Launcher::Fork();
};

TEST_F(LauncherTest, AProgramGetsFramesOnDescriptorThreeAndPipesForItsOutput) {
  const ProcessStarted started = StartTrainer();
  EXPECT_GT(started.pid, 0);
  const absl::StatusOr<std::string> frame = process::ReadFrame(started.frames.get());
  ASSERT_TRUE(frame.ok()) << frame.status();
  v1::TrainerReport report;
  ASSERT_TRUE(report.ParseFromString(*frame));
  EXPECT_TRUE(report.has_hello());
  v1::TrainerCommand command;
  command.mutable_shutdown();
  ASSERT_TRUE(process::WriteFrame(started.frames.get(), command.SerializeAsString()).ok());
  const ProcessEnded ended = Await<ProcessEnded>();
  EXPECT_EQ(ended.id, 1u);
  EXPECT_TRUE(WIFEXITED(ended.wait_status));
}

TEST_F(LauncherTest, SaysHowAProgramEnded) {
  EXPECT_EQ(WEXITSTATUS(RunShell("exit 5").wait_status), 5);
  const ProcessEnded killed = RunShell("kill -KILL $$");
  EXPECT_TRUE(WIFSIGNALED(killed.wait_status));
  EXPECT_EQ(WTERMSIG(killed.wait_status), SIGKILL);
  EXPECT_EQ(WTERMSIG(RunShell("kill -SEGV $$").wait_status), SIGSEGV);
}

TEST_F(LauncherTest, AProgramOutlivesWhatIsMeantForTheAgent) {
  EXPECT_EQ(WEXITSTATUS(RunShell("kill -TERM $$; kill -INT $$; kill -HUP $$; exit 3").wait_status), 3);
  EXPECT_EQ(WTERMSIG(RunShell("kill -PIPE $$; exit 3").wait_status), SIGPIPE);
}

TEST_F(LauncherTest, SaysWhyAProgramCouldNotBeStarted) {
  ASSERT_TRUE(launcher_.Start({3, {"/no/such/program"}, {}}).ok());
  const auto missing = Await<ProcessNotStarted>();
  EXPECT_EQ(missing.id, 3u);
  EXPECT_EQ(missing.error, ENOENT);
  ASSERT_TRUE(launcher_.Start({4, {"/etc/passwd"}, {}}).ok());
  EXPECT_EQ(Await<ProcessNotStarted>().error, EACCES);
  EXPECT_EQ(WEXITSTATUS(RunShell("exit 1").wait_status), 1) << "and goes on";
}

TEST_F(LauncherTest, ASignalGoesToTheWholeGroup) {
  ASSERT_TRUE(launcher_.Start({9, {"/bin/sh", "-c", "/bin/sleep 1000 & echo $!; wait"}, {}}).ok());
  const ProcessStarted started = Await<ProcessStarted>();
  std::array<char, 32> text{};
  ASSERT_GT(::read(started.out.get(), text.data(), text.size() - 1), 0);
  const pid_t grandchild = std::atoi(text.data());
  ASSERT_TRUE(launcher_.Signal(9, SIGKILL).ok());
  EXPECT_EQ(WTERMSIG(Await<ProcessEnded>().wait_status), SIGKILL);
  EXPECT_TRUE(AwaitGone(grandchild));
}

TEST_F(LauncherTest, WhatAProgramLeavesBehindGoesWithIt) {
  std::string out;
  RunShell("/bin/sleep 1000 >/dev/null 2>&1 & echo $!", &out);
  EXPECT_TRUE(AwaitGone(std::atoi(out.c_str())));
}

TEST_F(LauncherTest, ASignalForAProgramThatHasEndedIsHarmless) {
  RunShell("exit 0");
  EXPECT_TRUE(launcher_.Signal(7, SIGKILL).ok());
  EXPECT_EQ(WEXITSTATUS(RunShell("exit 2").wait_status), 2);
}

TEST_F(LauncherTest, AProgramHasNoOtherDescriptorsAndOnlyTheEnvironmentItIsGiven) {
  const process::FileDescriptor kept_open(::open("/dev/null", O_RDONLY));  // not closed at exec
  ASSERT_TRUE(launcher_.Start({2, {"/bin/sleep", "1000"}, {}}).ok());
  const ProcessStarted started = Await<ProcessStarted>();
  // Its loader opens libraries for a moment.
  std::vector<std::string> descriptors;
  const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  do {
    descriptors.clear();
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(started.pid) + "/fd")) {
      descriptors.push_back(entry.path().filename());
    }
  } while (descriptors.size() != 4 && std::chrono::steady_clock::now() < patience);
  EXPECT_THAT(descriptors, testing::UnorderedElementsAre("0", "1", "2", "3"));
  std::string out;
  ASSERT_TRUE(launcher_.Signal(2, SIGKILL).ok());
  Await<ProcessEnded>();
  RunShell("echo $SECRET $KEPT", &out, {"KEPT=kept"});
  EXPECT_EQ(out, "kept\n");
}

TEST_F(LauncherTest, CtrlCAtATerminalDoesNotReachTrainersOrLauncher) {
  const ProcessStarted started = StartTrainer();
  EXPECT_NE(::getpgid(started.pid), ::getpgrp());
  ::kill(launcher_.pid(), SIGINT);
  ::kill(launcher_.pid(), SIGTERM);
  EXPECT_EQ(WEXITSTATUS(RunShell("exit 4").wait_status), 4);
}

TEST_F(LauncherTest, TrainersDieWithTheLauncher) {
  const ProcessStarted started = StartTrainer();
  ::kill(launcher_.pid(), SIGKILL);
  EXPECT_TRUE(AwaitGone(started.pid));
  absl::StatusOr<std::optional<LauncherEvent>> event = launcher_.Next();
  while (event.ok() && !event->has_value()) event = launcher_.Next();
  EXPECT_TRUE(absl::IsOutOfRange(event.status())) << event.status();
}

TEST_F(LauncherTest, TrainersDieWithAnAgentThatIsKilled) {
  std::array<int, 2> pipe_ends;
  ASSERT_EQ(::pipe2(pipe_ends.data(), O_CLOEXEC), 0);
  const process::FileDescriptor read_end(pipe_ends[0]);
  process::FileDescriptor write_end(pipe_ends[1]);
  const pid_t agent = ::fork();
  if (agent == 0) {
    absl::StatusOr<Launcher> launcher = Launcher::Fork();
    if (!launcher.ok() || !launcher->Start({1, {FAKE_TRAINER}, {}}).ok()) ::_exit(1);
    pollfd ready{launcher->fd(), POLLIN, 0};
    ::poll(&ready, 1, kPatienceMs);
    absl::StatusOr<std::optional<LauncherEvent>> event = launcher->Next();
    if (!event.ok() || !event->has_value()) ::_exit(2);
    const std::array<pid_t, 2> pids = {std::get<ProcessStarted>(**event).pid, launcher->pid()};
    [[maybe_unused]] const auto written = ::write(write_end.get(), pids.data(), sizeof(pids));
    while (true) ::pause();
  }
  write_end.Close();
  std::array<pid_t, 2> pids{};
  ASSERT_EQ(::read(read_end.get(), pids.data(), sizeof(pids)), static_cast<ssize_t>(sizeof(pids)));
  ::kill(agent, SIGKILL);
  ::waitpid(agent, nullptr, 0);
  EXPECT_TRUE(AwaitGone(pids[0])) << "the trainer";
  EXPECT_TRUE(AwaitGone(pids[1])) << "the launcher";
}

TEST_F(LauncherTest, DestroyingItEndsEverything) {
  pid_t trainer = 0;
  {
    Launcher other = *Launcher::Fork();
    ASSERT_TRUE(other.Start({1, {FAKE_TRAINER}, {}}).ok());
    pollfd ready{other.fd(), POLLIN, 0};
    ASSERT_EQ(::poll(&ready, 1, kPatienceMs), 1);
    trainer = std::get<ProcessStarted>(**other.Next()).pid;
  }
  EXPECT_TRUE(AwaitGone(trainer));
}

TEST(LauncherMessageTest, EveryMessageArrivesAsItWasSent) {
  std::array<int, 2> ends;
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const process::FileDescriptor a(ends[0]), b(ends[1]);
  ASSERT_TRUE(Send(a.get(), LauncherRequest(StartProcess{5, {"x", "", "z"}, {"A=1"}})).ok());
  const auto start = ReceiveRequest(b.get(), /*wait=*/true);
  ASSERT_TRUE(start.ok());
  EXPECT_EQ(std::get<StartProcess>(*start).id, 5u);
  EXPECT_EQ(std::get<StartProcess>(*start).arguments, (std::vector<std::string>{"x", "", "z"}));
  EXPECT_EQ(std::get<StartProcess>(*start).environment, (std::vector<std::string>{"A=1"}));
  ASSERT_TRUE(Send(b.get(), LauncherEvent(ProcessEnded{5, 9, true})).ok());
  const auto ended = ReceiveEvent(a.get(), true);
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(std::get<ProcessEnded>(*ended).wait_status, 9);
  EXPECT_TRUE(std::get<ProcessEnded>(*ended).out_of_memory);
  EXPECT_TRUE(absl::IsUnavailable(ReceiveEvent(a.get(), /*wait=*/false).status()));
}

TEST(LauncherMessageTest, WhatCannotBeReadIsAnErrorAndNotACrash) {
  std::array<int, 2> ends;
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const process::FileDescriptor a(ends[0]), b(ends[1]);
  const std::string start("\1\0\0\0\5\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", 20);
  for (std::size_t size = 1; size <= start.size(); ++size) {
    ASSERT_EQ(::send(a.get(), start.data(), size, 0), static_cast<ssize_t>(size));
    EXPECT_FALSE(ReceiveRequest(b.get(), true).ok()) << size;
    ASSERT_EQ(::send(a.get(), start.data(), size, 0), static_cast<ssize_t>(size));
    EXPECT_FALSE(ReceiveEvent(b.get(), true).ok()) << size;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(
      Send(a.get(), LauncherRequest(StartProcess{1, {std::string(std::size_t{1} << 20, 'x')}, {}}))));
}

TEST(TrainerEnvironmentTest, KeepsWhatCudaAndThreadsNeedAndLeavesSecretsBehind) {
  const std::vector<const char*> environment = {"PATH=/bin",
                                                "OMP_NUM_THREADS=2",
                                                "CUDA_VISIBLE_DEVICES=1",
                                                "LC_ALL=C.UTF-8",
                                                "MANTISSA_TOKEN=s",
                                                "AWS_SECRET_ACCESS_KEY=s",
                                                "LD_PRELOAD=/evil.so",
                                                "MANTISSA_SERVER=x",
                                                "PATHOLOGY=1",
                                                "NOVALUE",
                                                nullptr};
  EXPECT_THAT(TrainerEnvironment(environment.data()),
              testing::ElementsAre("PATH=/bin", "OMP_NUM_THREADS=2", "CUDA_VISIBLE_DEVICES=1", "LC_ALL=C.UTF-8",
                                   "CUDA_DEVICE_ORDER=PCI_BUS_ID"));
}

TEST(TrainerEnvironmentTest, AnOrderOfDevicesThatWasChosenStays) {
  const std::vector<const char*> environment = {"CUDA_DEVICE_ORDER=FASTEST_FIRST", nullptr};
  EXPECT_THAT(TrainerEnvironment(environment.data()), testing::ElementsAre("CUDA_DEVICE_ORDER=FASTEST_FIRST"));
}

}  // namespace
}  // namespace mantissa::agent
