#include "worker/trainer/command_control.h"

#include <chrono>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/fake_clock.h"
#include "tests/unit/trainer/agent_end.h"

namespace mantissa::trainer {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

class CommandControlTest : public ::testing::Test {
 protected:
  bool LooksAgain() {
    clock_.Advance(milliseconds(2));
    return control_.stop_requested();
  }

  Conversation conversation_;
  process::FakeClock clock_;
  std::vector<std::string> committed_;
  CommandControl control_{conversation_.channel(), clock_, "job", 2,
                          [this](const v1::CheckpointCommitted& committed) { committed_.push_back(committed.name()); }};
};

TEST_F(CommandControlTest, NothingSaidIsNoStop) {
  EXPECT_FALSE(control_.stop_requested());
  EXPECT_FALSE(LooksAgain());
  EXPECT_FALSE(control_.shutdown_requested());
}

TEST_F(CommandControlTest, AStopStaysAndSaysWhetherToSaveFirst) {
  conversation_.agent().Send(StopCommand("job", 2, /*checkpoint=*/true));
  EXPECT_TRUE(control_.stop_requested());
  EXPECT_TRUE(control_.stop().checkpoint);
  EXPECT_TRUE(LooksAgain());
  EXPECT_FALSE(control_.shutdown_requested()) << "the process may run another attempt";
}

TEST_F(CommandControlTest, AStopWithoutACheckpointAsksForNone) {
  conversation_.agent().Send(StopCommand("job", 2));
  EXPECT_TRUE(control_.stop_requested());
  EXPECT_FALSE(control_.stop().checkpoint);
}

TEST_F(CommandControlTest, ASecondStopMayTakeTheWishForACheckpointBack) {
  conversation_.agent().Send(StopCommand("job", 2, /*checkpoint=*/true));
  conversation_.agent().Send(StopCommand("job", 2, /*checkpoint=*/false));
  EXPECT_TRUE(control_.stop_requested());
  EXPECT_FALSE(control_.stop().checkpoint);
}

TEST_F(CommandControlTest, AStopOfAnotherAttemptIsNothingToThisOne) {
  conversation_.agent().Send(StopCommand("job", 1));
  conversation_.agent().Send(StopCommand("other", 2));
  EXPECT_FALSE(control_.stop_requested());
  EXPECT_FALSE(LooksAgain());
}

TEST_F(CommandControlTest, LooksOnlyEveryFewMilliseconds) {
  EXPECT_FALSE(control_.stop_requested());
  conversation_.agent().Send(StopCommand("job", 2));
  EXPECT_FALSE(control_.stop_requested());
  clock_.Advance(std::chrono::microseconds(1999));
  EXPECT_FALSE(control_.stop_requested());
  clock_.Advance(std::chrono::microseconds(1));
  EXPECT_TRUE(control_.stop_requested());
}

TEST_F(CommandControlTest, AnAgentThatIsGoneIsAStopWithoutACheckpoint) {
  conversation_.agent().Close();
  EXPECT_TRUE(control_.stop_requested());
  EXPECT_FALSE(control_.stop().checkpoint);
  EXPECT_TRUE(control_.shutdown_requested());
}

TEST_F(CommandControlTest, AnAgentThatDiesAfterItsStopTakesTheCheckpointBack) {
  conversation_.agent().Send(StopCommand("job", 2, /*checkpoint=*/true));
  conversation_.agent().Close();
  EXPECT_TRUE(control_.stop_requested());
  EXPECT_FALSE(control_.stop().checkpoint);
}

TEST_F(CommandControlTest, FramesThatCannotBeTrustedAreAStop) {
  conversation_.agent().SendBytes(std::string("\xff\xff\xff\xff", 4));
  EXPECT_TRUE(control_.stop_requested());
  EXPECT_FALSE(control_.stop().checkpoint);
  EXPECT_TRUE(control_.shutdown_requested());
}

TEST_F(CommandControlTest, AShutdownStopsTheAttemptAndTheProcess) {
  conversation_.agent().Send(ShutdownCommand());
  EXPECT_TRUE(control_.stop_requested());
  EXPECT_FALSE(control_.stop().checkpoint);
  EXPECT_TRUE(control_.shutdown_requested());
}

TEST_F(CommandControlTest, CommittedCheckpointsArePassedOnAndTheRunGoesOn) {
  for (const char* name : {"a", "b"}) {
    v1::TrainerCommand command;
    command.mutable_checkpoint_committed()->set_name(name);
    conversation_.agent().Send(command);
  }
  EXPECT_FALSE(control_.stop_requested());
  EXPECT_THAT(committed_, ElementsAre("a", "b"));
}

TEST_F(CommandControlTest, WhatDoesNotBelongIntoAnAttemptIsDropped) {
  v1::TrainerCommand run;
  run.mutable_run()->set_job_id("another");
  v1::TrainerCommand bind;
  bind.mutable_bind()->set_tenant("t");
  conversation_.agent().Send(run);
  conversation_.agent().Send(bind);
  conversation_.agent().Send(v1::TrainerCommand());
  EXPECT_FALSE(control_.stop_requested());
  EXPECT_FALSE(control_.shutdown_requested());
}

}  // namespace
}  // namespace mantissa::trainer
