// A server that can't be reached: who trains on, who stops, and when.
#include <chrono>
#include <string>
#include <utility>

#include "gmock/gmock.h"

#include "tests/unit/agent/agent_fixture.h"

namespace mantissa::agent {
namespace {

using testing::HasSubstr;

class AgentCutOffTest : public AgentTest {
 protected:
  AgentCutOffTest() {
    options_.sync.backoff_first = options_.sync.backoff_most = milliseconds(20);
    options_.leave_grace = std::chrono::minutes(10);
  }

  // Begins an attempt that is to stop when it is cut off, under a short lease.
  void BeginStopping(const std::string& steps) {
    StartAgent();
    Until("a device", [&] { return newest_.request.devices_size() == 1; });
    *desired_.mutable_lease() = TimeUtil::MillisecondsToDuration(kLease.count());
    Want(Goal::RUN, steps);
    desired_.mutable_attempts(0)->mutable_assignment()->mutable_spec()->set_on_disconnect(v1::JobSpec::STOP);
    Answer();
    Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  }

  // Fails every call until the condition holds.
  template <class Condition>
  void AwayUntil(const char* what, Condition condition) {
    Until(what, [&] {
      if (newest_.done != nullptr) {
        std::exchange(newest_.done, nullptr)(absl::UnavailableError("away"));
        ++failures_;
      }
      return condition();
    });
  }

  static constexpr milliseconds kLease{1'200};
  int failures_ = 0;
};

TEST_F(AgentCutOffTest, TrainsOnWhileTheServerIsAwayAndStopsWithACheckpointWhenTheGraceIsOver) {
  grace_ = milliseconds(400);
  Begin("started,wait");
  Until("RUNNING", [&] { return ReportSays(v1::Attempt::RUNNING); });
  AwayUntil("a checkpoint", [&] { return !commits_.empty(); });
  EXPECT_GT(failures_, 2) << "it went on trying, and training, for a while";
  EXPECT_EQ(metrics_.connected.Value(), 0);
  Until("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_EQ(Report()->reason(), v1::Reason::WORKER_STOPPED);
  EXPECT_THAT(Report()->message(), HasSubstr("could not reach the server"));
}

TEST_F(AgentCutOffTest, AStopAttemptThatIsHeardOfTrainsOnPastItsLease) {
  BeginStopping("started,wait");
  const process::SteadyTime began = clock_.Now();
  while (clock_.Now() < began + 2 * kLease) {
    Answer();
    ASSERT_TRUE(agent_->Turn(kLease / 6).ok());
  }
  EXPECT_TRUE(commits_.empty());
  EXPECT_TRUE(ReportSays(v1::Attempt::RUNNING));
}

TEST_F(AgentCutOffTest, AStopAttemptEndsWithACheckpointAtTwoThirdsOfTheLeaseFromTheLastCallThatWasAnswered) {
  BeginStopping("started,wait");
  const process::SteadyTime before = clock_.Now();
  Answer();
  Answer();  // of a call that went out after `before`
  AwayUntil("a checkpoint", [&] { return !commits_.empty(); });
  EXPECT_GE(clock_.Now(), before + kLease * 2 / 3);
  EXPECT_GT(failures_, 2) << "it went on trying, and training, for a while";
  AwayUntil("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_EQ(Report()->reason(), v1::Reason::WORKER_STOPPED);
  EXPECT_THAT(Report()->message(), HasSubstr("could not reach the server"));
}

TEST_F(AgentCutOffTest, AStopAttemptWhoseTrainerDoesNotListenIsKilledBeforeTheLeaseIsOver) {
  BeginStopping("started,deaf");
  AwayUntil("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
  EXPECT_TRUE(commits_.empty());
}

TEST_F(AgentCutOffTest, AStopAttemptThatWasToMoveOnEndsAllTheSame) {
  options_.move_grace = std::chrono::minutes(10);
  BeginStopping("started,deaf");
  Want(Goal::STOP_WITH_CHECKPOINT);
  Answer();
  AwayUntil("the end", [&] { return ReportSays(v1::Attempt::FAILED); });
}

}  // namespace
}  // namespace mantissa::agent
