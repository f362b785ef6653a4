#include "process/stop_signal.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

using std::chrono::milliseconds;

TEST(StopSignalTest, IsNotRaisedAtFirst) {
  StopSignal stop;
  EXPECT_FALSE(stop.raised());
  EXPECT_FALSE(stop.Wait(milliseconds(0)));
}

TEST(StopSignalTest, BothSignalsRaiseItAndItStaysRaised) {
  for (const int signal : {SIGTERM, SIGINT}) {
    StopSignal stop;
    ASSERT_EQ(::raise(signal), 0);
    EXPECT_TRUE(stop.Wait());
    EXPECT_TRUE(stop.raised());
    EXPECT_TRUE(stop.raised());
    pollfd event = {stop.fd(), POLLIN, 0};
    EXPECT_EQ(::poll(&event, 1, 0), 1);
  }
}

TEST(StopSignalTest, WakesAThreadThatWaits) {
  StopSignal stop;
  std::thread waiter([&] { EXPECT_TRUE(stop.Wait()); });
  ASSERT_EQ(::kill(::getpid(), SIGTERM), 0);
  waiter.join();
}

TEST(StopSignalTest, CanBeRaisedFromInside) {
  StopSignal stop;
  std::thread([&] { stop.Raise(); }).join();
  EXPECT_TRUE(stop.Wait());
}

TEST(StopSignalTest, AClosedPipeIsNoReasonToDie) {
  StopSignal stop;
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  ::close(pipe[0]);
  EXPECT_EQ(::write(pipe[1], "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  ::close(pipe[1]);
}

TEST(StopSignalTest, AChildInheritsNoBlockedSignal) {
  StopSignal stop;
  sigset_t blocked;
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, nullptr, &blocked), 0);
  EXPECT_EQ(sigismember(&blocked, SIGTERM), 0);
  EXPECT_EQ(sigismember(&blocked, SIGINT), 0);
}

TEST(StopSignalDeathTest, AfterItsEndTheSignalKillsAgain) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        { StopSignal stop; }
        ::raise(SIGTERM);
      },
      testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace mantissa::process
