// A worker that was only cut off is back: in time, too late, and in every way in which it may first be heard of.
#include "control_plane.h"

namespace mantissa::server {
namespace {

class SchedulerRevival : public testing::Test {
 protected:
  SchedulerRevival() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    ref_ = worker_.RunFirst();
    EXPECT_TRUE(plane_.Append(ref_, {Records(1, 1, 5)}).ok());
    plane_.Pass(seconds(30));
    EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
    EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  }

  void ExpectBack() {
    EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
    EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::RUNNING);
    EXPECT_FALSE(plane_.Attempt(job_, 1).has_end_time());
    EXPECT_EQ(plane_.scheduler->QueuePosition(job_), 0);
    EXPECT_EQ(plane_.Job(job_).attempt(), 1);
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerRevival, AReportInTimeTakesItBack) {
  ASSERT_TRUE(worker_.Sync().ok());
  ExpectBack();
  EXPECT_EQ(plane_.Job(job_).progress().worker_id(), "ws-1");
  EXPECT_EQ(plane_.Append(ref_, {Records(6, 6, 2)}).value(), 7) << "its telemetry goes on without a hole";
  plane_.Pass(milliseconds(29'999));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING) << "it has a whole lease again";
  plane_.Pass(milliseconds(1));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED) << "and no more than that";
}

TEST_F(SchedulerRevival, TelemetryInTimeTakesItBack) {
  EXPECT_EQ(plane_.Append(ref_, {Records(6, 6, 2)}).value(), 7);
  ExpectBack();
}

TEST_F(SchedulerRevival, ACheckpointInTimeTakesItBack) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 6).ok());
  ExpectBack();
}

TEST_F(SchedulerRevival, ItsLogsAreTakenWhileItMayComeBack) {
  EXPECT_TRUE(plane_.scheduler->CheckFence(ref_).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED) << "which is no reason to take it back";
}

TEST_F(SchedulerRevival, CostsNoRetryHoweverOften) {
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(worker_.Sync().ok());
    ASSERT_EQ(plane_.StateOf(job_), v1::Job::RUNNING) << i;
    plane_.Pass(seconds(30));
  }
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BACKOFF);
}

TEST_F(SchedulerRevival, WhatHasEndedMeanwhileCounts) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 5).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::SUCCEEDED);
}

TEST_F(SchedulerRevival, TheNextAttemptIsTheEndOfIt) {
  FakeWorker other(plane_, "ws-2");
  ASSERT_TRUE(other.Sync().ok());
  plane_.PassUntilPlaced(job_);
  EXPECT_EQ(plane_.Job(job_).attempt(), 2);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_TRUE(worker_.held.empty()) << "told to let go";
  EXPECT_EQ(ReasonOf(plane_.Append(ref_, {Records(6, 6, 1)}).status()), kLeaseLost);
  EXPECT_EQ(ReasonOf(plane_.CommitCheckpoint(ref_, 6).status()), kLeaseLost);
  EXPECT_EQ(ReasonOf(plane_.scheduler->CheckFence(ref_)), kLeaseLost);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  EXPECT_EQ(plane_.Job(job_).attempt(), 2);
}

TEST_F(SchedulerRevival, AnotherTokenOrWorkerIsNotIt) {
  v1::AttemptRef forged = ref_;
  forged.set_token("token of nobody0");
  EXPECT_EQ(ReasonOf(plane_.Append(forged, {Records(6, 6, 1)}).status()), kLeaseLost);
  FakeWorker thief(plane_, "ws-2", {});
  v1::AttemptReport& claim = thief.held.emplace_back();
  *claim.mutable_ref() = ref_;
  claim.set_state(v1::Attempt::RUNNING);
  ASSERT_TRUE(thief.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_TRUE(thief.held.empty());
}

TEST_F(SchedulerRevival, APauseOrACancelIsTheEndOfIt) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSED);
  EXPECT_TRUE(worker_.held.empty());
  ASSERT_TRUE(plane_.Resume(job_).ok());
  EXPECT_EQ(ReasonOf(plane_.Append(ref_, {Records(6, 6, 1)}).status()), kLeaseLost) << "for good";
}

TEST_F(SchedulerRevival, WorksAcrossARestartOfTheServer) {
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  ExpectBack();
  EXPECT_EQ(plane_.Append(ref_, {Records(6, 6, 2)}).value(), 7);
}

TEST_F(SchedulerRevival, OneThatHadNotStartedComesBackAsStarting) {
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED, 5).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_timeouts()->mutable_start()->set_seconds(3'600);
  const std::string id = plane_.Submit(spec).id();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Pass(seconds(30));
  ASSERT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::STARTING);
  EXPECT_EQ(plane_.Attempt(id, 1).state(), v1::Attempt::STARTING);
  worker_.held[0].set_state(v1::Attempt::RUNNING);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::RUNNING);
}

TEST_F(SchedulerRevival, AnAttemptThatItsAgentLostDoesNotComeBack) {
  ASSERT_TRUE(worker_.Sync().ok());
  const std::vector<v1::AttemptReport> old = worker_.held;
  worker_.RestartAgent();
  worker_.request().set_report_number(1);
  ASSERT_TRUE(worker_.Send().ok());
  ASSERT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  worker_.held = old;
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_NE(plane_.StateOf(job_), v1::Job::RUNNING) << "what the agent itself says it has not, it has not";
}

}  // namespace
}  // namespace mantissa::server
