// Paused and resumed, in every state and in every race with the worker that is to stop.
#include "control_plane.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

class SchedulerPause : public testing::Test {
 protected:
  SchedulerPause() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    ref_ = worker_.RunFirst();
  }

  v1::DesiredAttempt::Goal Goal() { return plane_.scheduler->DesiredState("ws-1", plane_.now).attempts(0).goal(); }
  absl::Status StopAsAsked() { return worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED); }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerPause, ARunningJobIsSavedLeavesItsDeviceAndGoesOnFromThere) {
  const int64_t revision = plane_.scheduler->DesiredRevision("ws-1");
  ASSERT_TRUE(plane_.Pause(job_).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSING);
  EXPECT_GT(plane_.scheduler->DesiredRevision("ws-1"), revision) << "a hanging call is answered at once";
  EXPECT_EQ(Goal(), v1::DesiredAttempt::STOP_WITH_CHECKPOINT);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 7).ok()) << "taken while it is PAUSING";
  ASSERT_TRUE(StopAsAsked().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::PAUSED_BY_USER);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::STOPPED);
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::PAUSED_BY_USER);
  EXPECT_EQ(plane_.scheduler->QueuePosition(job_), 0);

  const std::string other = plane_.Submit().id();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(other), v1::Job::STARTING) << "the device is free";
  ASSERT_TRUE(plane_.Resume(job_).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.scheduler->QueuePosition(job_), 1);

  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  const v1::AttemptRef second = worker_.RunFirst();
  EXPECT_EQ(second.job_id(), job_);
  EXPECT_EQ(second.attempt(), 2);
  EXPECT_EQ(plane_.Attempt(job_, 2).resumed_from(), "attempt-0001/step-00000007");
}

TEST_F(SchedulerPause, CostsNoRetryHoweverOftenItIsDone) {
  for (int i = 1; i <= 8; ++i) {
    ASSERT_TRUE(plane_.Pause(job_).ok());
    ASSERT_TRUE(worker_.Sync().ok());
    ASSERT_TRUE(StopAsAsked().ok());
    ASSERT_EQ(plane_.StateOf(job_), v1::Job::PAUSED) << i;
    ASSERT_TRUE(plane_.Resume(job_).ok());
    worker_.RunFirst();
  }
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
}

TEST_F(SchedulerPause, OneThatWaitsIsPausedAtOnceAndKeepsItsAge) {
  const std::string older = plane_.Submit().id(), younger = plane_.Submit().id();
  ASSERT_TRUE(plane_.Pause(older).ok());
  EXPECT_EQ(plane_.StateOf(older), v1::Job::PAUSED);
  EXPECT_EQ(plane_.scheduler->QueuePosition(younger), 1);
  ASSERT_TRUE(plane_.Resume(older).ok());
  EXPECT_EQ(plane_.scheduler->QueuePosition(older), 1);
  EXPECT_EQ(plane_.scheduler->QueuePosition(younger), 2);
}

TEST_F(SchedulerPause, TwiceIsOnceAndSoIsResuming) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  const std::string etag = plane_.Job(job_).etag();
  ASSERT_TRUE(plane_.Pause(job_).ok());
  EXPECT_EQ(plane_.Job(job_).etag(), etag);
  ASSERT_TRUE(StopAsAsked().ok());
  ASSERT_TRUE(plane_.Pause(job_).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSED);
  ASSERT_TRUE(plane_.Resume(job_).ok());
  ASSERT_TRUE(plane_.Resume(job_).ok());
  EXPECT_EQ(plane_.scheduler->Pause(job_, "17", plane_.now, plane_.changes).status().code(), absl::StatusCode::kAborted)
      << "another etag";
}

TEST_F(SchedulerPause, WhatIsBeingCancelledIsNeitherPausedNorResumed) {
  ASSERT_TRUE(plane_.Cancel(job_).ok());
  const absl::Status paused = plane_.Pause(job_);
  EXPECT_EQ(paused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(paused), kWrongState);
  EXPECT_EQ(ReasonOf(plane_.Resume(job_)), kWrongState);
}

TEST_F(SchedulerPause, ACancelWinsOverAPauseInEveryStageOfIt) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  ASSERT_TRUE(plane_.Cancel(job_).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::CANCELLING);
  EXPECT_EQ(Goal(), v1::DesiredAttempt::CANCEL);
  ASSERT_TRUE(StopAsAsked().ok()) << "it had saved and stopped already";
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::CANCELLED);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::STOPPED);

  ASSERT_TRUE(plane_.Drain("ws-1").ok());
  const std::string paused = plane_.Submit().id();
  ASSERT_TRUE(plane_.Pause(paused).ok());
  ASSERT_TRUE(plane_.Cancel(paused).ok());
  EXPECT_EQ(plane_.StateOf(paused), v1::Job::CANCELLED);
}

TEST_F(SchedulerPause, AJobThatEndsMeanwhileHasEnded) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);

  ASSERT_TRUE(worker_.Sync().ok());
  const std::string bad = plane_.Submit().id();
  worker_.RunFirst();
  ASSERT_TRUE(plane_.Pause(bad).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::NUMERIC_FAILURE).ok());
  EXPECT_EQ(plane_.StateOf(bad), v1::Job::FAILED) << "it would fail again";
}

TEST_F(SchedulerPause, AWorkerThatIsLostMeanwhileLeavesItPausedAtItsLastCheckpoint) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 5).ok());
  ASSERT_TRUE(plane_.Pause(job_).ok());
  plane_.Pass(seconds(30));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSED);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  EXPECT_THAT(plane_.Job(job_).state_message(), HasSubstr("goes on from its last checkpoint"));
  ASSERT_TRUE(plane_.Resume(job_).ok());
  worker_.RestartAgent();
  const v1::AttemptRef second = worker_.RunFirst();
  EXPECT_EQ(plane_.Attempt(job_, second.attempt()).resumed_from(), "attempt-0001/step-00000005");
}

TEST_F(SchedulerPause, ACrashMeanwhileLeavesItPausedAndCounts) {
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_retry()->set_max_attempts(2);
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  const std::string id = plane_.Submit(spec).id();
  worker_.RunFirst();
  ASSERT_TRUE(plane_.Pause(id).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::CRASHED).ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::PAUSED);
  ASSERT_TRUE(plane_.Resume(id).ok());
  worker_.RunFirst();
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::CRASHED).ok());
  EXPECT_EQ(plane_.Job(id).reason(), v1::Reason::RETRIES_EXHAUSTED) << "the second of two";
}

TEST_F(SchedulerPause, AnAssignmentThatWasNeverTakenIsPausedByTheNextReport) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  const std::string id = plane_.Submit().id();
  ASSERT_EQ(plane_.StateOf(id), v1::Job::STARTING);
  ASSERT_TRUE(plane_.Pause(id).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::PAUSING) << "its newest answer may be on its way to it";
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::PAUSED);
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::PAUSED_BY_USER);
}

TEST_F(SchedulerPause, OneThatStartsMeanwhileIsStillToBePaused) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  const std::string id = plane_.Submit().id();
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(plane_.Pause(id).ok());
  worker_.held[0].set_state(v1::Attempt::RUNNING);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::PAUSING);
  EXPECT_EQ(plane_.Attempt(id, 1).state(), v1::Attempt::RUNNING);
  EXPECT_EQ(Goal(), v1::DesiredAttempt::STOP_WITH_CHECKPOINT);
}

TEST_F(SchedulerPause, ResumedBeforeItStoppedItGoesOnWhereItIs) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  ASSERT_TRUE(plane_.Resume(job_).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  EXPECT_EQ(Goal(), v1::DesiredAttempt::RUN);
}

TEST_F(SchedulerPause, ResumedTooLateForItsWorkerItGoesThroughTheQueueAtNoCost) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(plane_.Resume(job_).ok());
  ASSERT_TRUE(StopAsAsked().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING) << "no back-off";
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::STOPPED);
  EXPECT_EQ(plane_.Job(job_).attempt(), 2);
}

TEST_F(SchedulerPause, ACheckpointThatCannotBeWrittenMakesItGoOnAndSaySo) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  worker_.held[0].set_declined_stops(1);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::CHECKPOINT_FAILED);
  EXPECT_EQ(Goal(), v1::DesiredAttempt::RUN);
  ASSERT_TRUE(plane_.Pause(job_).ok());
  ASSERT_TRUE(worker_.Sync().ok()) << "the same word of the same refusal";
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSING);
  worker_.held[0].set_declined_stops(2);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
}

TEST_F(SchedulerPause, PausedTimeCountsForNoTimeout) {
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_timeouts()->mutable_total()->set_seconds(100);
  spec.mutable_timeouts()->mutable_queue()->set_seconds(100);
  const std::string id = plane_.Submit(spec).id();
  plane_.Pass(seconds(20));
  ASSERT_TRUE(plane_.Pause(id).ok());
  for (int i = 0; i < 10; ++i) plane_.Pass(seconds(1'000));
  EXPECT_EQ(plane_.StateOf(id), v1::Job::PAUSED);
  ASSERT_TRUE(plane_.Resume(id).ok());
  plane_.Pass(seconds(79));
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Job(id).reason(), v1::Reason::DEADLINE);
}

TEST_F(SchedulerPause, SurvivesTheServer) {
  ASSERT_TRUE(plane_.Pause(job_).ok());
  const std::string waiting = plane_.Submit().id();
  ASSERT_TRUE(plane_.Pause(waiting).ok());
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSING);
  EXPECT_EQ(Goal(), v1::DesiredAttempt::STOP_WITH_CHECKPOINT);
  ASSERT_TRUE(StopAsAsked().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::PAUSED);
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::PAUSED_BY_USER);
  EXPECT_EQ(plane_.StateOf(waiting), v1::Job::PAUSED);
  ASSERT_TRUE(plane_.Resume(waiting).ok());
  EXPECT_EQ(plane_.StateOf(waiting), v1::Job::STARTING);
}

TEST_F(SchedulerPause, AnInterventionMeanwhileBeginsItsLineageAndIsPausedThere) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_training()->mutable_precision()->set_on_failure(v1::PrecisionSpec::ROLLBACK);
  spec.mutable_training()->mutable_precision()->set_max_rollbacks(3);
  const std::string id = plane_.Submit(spec).id();
  worker_.RunFirst();
  ASSERT_TRUE(plane_.Pause(id).ok());
  v1::Intervention& intervention = *worker_.held.at(0).mutable_intervention();
  intervention.set_kind(v1::Intervention::ROLLBACK);
  intervention.set_reason(v1::Reason::NUMERIC_FAILURE);
  intervention.mutable_iterations()->set_first(3);
  intervention.mutable_iterations()->set_last(4);
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::NUMERIC_FAILURE).ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::PAUSED);
  EXPECT_EQ(plane_.Job(id).lineage().number(), 2);
  ASSERT_TRUE(plane_.Resume(id).ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::STARTING);
}

}  // namespace
}  // namespace mantissa::server
