// The end of an attempt: recorded once, after its telemetry, with what it left.
#include "control_plane.h"

namespace mantissa::server {
namespace {

class SchedulerEnd : public testing::Test {
 protected:
  SchedulerEnd() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    ref_ = worker_.RunFirst();
  }

  v1::Artifact Model() {
    v1::Artifact artifact;
    artifact.set_name("model.safetensors");
    artifact.set_size_bytes(3);
    artifact.set_sha256(std::string(64, 'a'));
    return artifact;
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerEnd, SuccessIsRecordedWithItsResult) {
  worker_.held[0].mutable_result()->set_eval_accuracy(0.97);
  worker_.held[0].set_iteration(690);
  worker_.held[0].set_step(688);
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  const v1::Job job = plane_.Job(job_);
  EXPECT_EQ(job.state(), v1::Job::SUCCEEDED);
  EXPECT_EQ(job.reason(), v1::Reason::COMPLETED);
  EXPECT_DOUBLE_EQ(job.result().eval_accuracy(), 0.97);
  EXPECT_EQ(job.progress().iteration(), 690);
  EXPECT_TRUE(job.has_end_time());
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::SUCCEEDED);
  EXPECT_EQ(plane_.Telemetry(job_).back().event().state_change().to(), v1::Job::SUCCEEDED);
}

TEST_F(SchedulerEnd, IsRecordedOnce) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  const size_t entries = plane_.Telemetry(job_).size();
  worker_.held.resize(1);
  *worker_.held[0].mutable_ref() = ref_;
  worker_.held[0].set_state(v1::Attempt::FAILED);
  for (int i = 0; i < 3; ++i) {
    worker_.request().set_report_number(100 + i);
    ASSERT_TRUE(worker_.Send().ok());
  }
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
  EXPECT_EQ(plane_.Telemetry(job_).size(), entries);
}

TEST_F(SchedulerEnd, ASuccessSoQuickThatRunningWasNeverSeenIsASuccess) {
  const std::string quick = plane_.Submit().id();
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_EQ(plane_.StateOf(quick), v1::Job::STARTING);
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_EQ(plane_.StateOf(quick), v1::Job::SUCCEEDED);
  EXPECT_TRUE(plane_.Job(quick).has_start_time());
}

TEST_F(SchedulerEnd, WaitsForTheTelemetryThatItsWorkerStillHas) {
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 5)}).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::REASON_UNSPECIFIED, 10).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  EXPECT_EQ(worker_.answer().attempts(0).goal(), v1::DesiredAttempt::RUN) << "not to be forgotten yet";
  ASSERT_TRUE(plane_.Append(ref_, {Records(6, 6, 4)}).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  ASSERT_TRUE(plane_.Append(ref_, {Records(10, 10, 1)}).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
  const auto telemetry = plane_.Telemetry(job_);
  EXPECT_TRUE(telemetry[telemetry.size() - 2].has_records());
  EXPECT_EQ(telemetry.back().event().state_change().to(), v1::Job::SUCCEEDED);
}

TEST_F(SchedulerEnd, WaitsNoLongerThanTheGraceAndSaysWhatIsMissing) {
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 5)}).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::REASON_UNSPECIFIED, 10).ok());
  plane_.Pass(milliseconds(4'999));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  plane_.Pass(milliseconds(1));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
  const auto telemetry = plane_.Telemetry(job_);
  const v1::Segment& gap = telemetry[telemetry.size() - 2];
  EXPECT_EQ(gap.gap().from(), 6);
  EXPECT_EQ(gap.gap().to(), 10);
  EXPECT_EQ(gap.attempt(), 1);
}

TEST_F(SchedulerEnd, AnEndThatWasReportedOutlivesTheAgent) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::REASON_UNSPECIFIED, 10).ok());
  worker_.RestartAgent();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
}

TEST_F(SchedulerEnd, ALimitDoesNotOvertakeAnEndThatWaits) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::REASON_UNSPECIFIED, 10).ok());
  plane_.now.steady += std::chrono::hours(1);
  plane_.Pass(milliseconds(0));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED);
}

TEST_F(SchedulerEnd, NumericFailureIsFinal) {
  worker_.held[0].set_message("loss scale at its floor");
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::SCALE_AT_MINIMUM).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::SCALE_AT_MINIMUM);
  EXPECT_EQ(plane_.Job(job_).state_message(), "loss scale at its floor");
}

TEST_F(SchedulerEnd, AWordThatIsTooLongIsCutBetweenCharacters) {
  std::string text(4'095, 'x');
  for (int i = 0; i < 1'000; ++i) text += "\u00e9";
  worker_.held[0].set_message(text);
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::BAD_DATA).ok());
  EXPECT_EQ(plane_.Job(job_).state_message(), std::string(4'095, 'x') + " ...");
  EXPECT_EQ(plane_.Attempt(job_, 1).message(), std::string(4'095, 'x') + " ...");
}

TEST_F(SchedulerEnd, AKilledTrainerIsTriedAgainOnTheSameWorker) {
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::OOM_KILLED).ok());
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BACKOFF);
  EXPECT_FALSE(plane_.Job(job_).progress().has_time());
  EXPECT_TRUE(plane_.Job(job_).progress().worker_id().empty());
  plane_.PassUntilPlaced(job_);
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_EQ(worker_.held.size(), 1u);
  EXPECT_EQ(worker_.held[0].ref().attempt(), 2);
}

TEST_F(SchedulerEnd, AnEndNobodyAskedForIsTheTrainersLoss) {
  ASSERT_TRUE(worker_.End(v1::Attempt::CANCELLED, v1::Reason::CANCELLED_BY_USER).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::FAILED);
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::TRAINER_LOST);
}

TEST_F(SchedulerEnd, ADrainingWorkerStopsWithACheckpointAndCostsNoRetry) {
  FakeWorker other(plane_, "ws-2");
  worker_.request().set_draining(true);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_TRUE(worker_.answer().drain());
  EXPECT_EQ(worker_.answer().attempts(0).goal(), v1::DesiredAttempt::STOP_WITH_CHECKPOINT);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 7).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::CHECKPOINT_UNREACHABLE) << "no back-off: it may go on at once";
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_TRUE(worker_.held.empty()) << "it takes no more work";
  const v1::AttemptRef second = other.RunFirst();
  EXPECT_EQ(second.attempt(), 2);
  EXPECT_EQ(plane_.Attempt(job_, 2).resumed_from(), "attempt-0001/step-00000007");
}

TEST_F(SchedulerEnd, AWorkerThatWasNotAskedToStopCannotGiveBackForFree) {
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED).ok());
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::KILLED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BACKOFF);
}

TEST_F(SchedulerEnd, AnAssignmentToAWorkerThatBeganToDrainCostsNoRetry) {
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  const std::string id = plane_.Submit().id();
  ASSERT_EQ(plane_.StateOf(id), v1::Job::STARTING);
  worker_.request().set_draining(true);
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::WORKER_STOPPED);
  EXPECT_EQ(plane_.Job(id).reason(), v1::Reason::WAITING_FOR_WORKER);
}

TEST_F(SchedulerEnd, AWorkerThatIsFarBehindWithItsFilesGetsNoMoreWorkUntilItIsFurther) {
  constexpr int kMost = 17;
  for (int i = 1; i < kMost; ++i) plane_.Submit();
  const std::string waits = plane_.Submit().id();
  for (int i = 0; i < kMost; ++i) {
    *worker_.held.back().add_artifacts() = Model();
    worker_.held.back().set_state(v1::Attempt::SUCCEEDED);
    ASSERT_TRUE(worker_.Sync().ok());
  }
  EXPECT_EQ(plane_.StateOf(waits), v1::Job::QUEUED) << "its device is free, but a report can't grow for ever";
  EXPECT_EQ(worker_.held.size(), static_cast<size_t>(kMost));

  ASSERT_TRUE(plane_.scheduler->RecordArtifact(ref_, Model(), plane_.now, plane_.changes).ok());
  plane_.Commit();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(waits), v1::Job::QUEUED) << "it was told to forget the first, and has not said that it did";
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(waits), v1::Job::STARTING);
}

TEST_F(SchedulerEnd, FilesAreAskedForUntilTheyAreHere) {
  *worker_.held[0].add_artifacts() = Model();
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::SUCCEEDED) << "the end does not wait for files";
  for (bool restarted : {false, true}) {
    if (restarted) plane_.Restart();
    ASSERT_TRUE(worker_.Sync().ok());
    ASSERT_EQ(worker_.answer().artifacts_size(), 1) << restarted;
    EXPECT_EQ(worker_.answer().artifacts(0).artifact().name(), "model.safetensors");
    EXPECT_EQ(worker_.answer().attempts(0).goal(), v1::DesiredAttempt::RUN);
    EXPECT_EQ(plane_.store.ListWantedArtifacts(job_)->size(), 1u);
  }
  ASSERT_TRUE(plane_.scheduler->CheckFence(ref_).ok());
  v1::Artifact wrong = Model();
  wrong.set_sha256(std::string(64, 'b'));
  EXPECT_EQ(plane_.scheduler->CheckWanted(ref_, wrong).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(plane_.scheduler->RecordArtifact(ref_, wrong, plane_.now, plane_.changes).code(),
            absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(plane_.scheduler->CheckWanted(ref_, Model()).ok());
  ASSERT_TRUE(plane_.scheduler->RecordArtifact(ref_, Model(), plane_.now, plane_.changes).ok());
  plane_.Commit();
  EXPECT_THAT(plane_.last.touched_workers, testing::ElementsAre("ws-1"));
  EXPECT_EQ(plane_.store.ListArtifacts(job_)->size(), 1u);
  EXPECT_TRUE(plane_.store.ListWantedArtifacts(job_)->empty());
  worker_.Read();
  EXPECT_EQ(worker_.answer().attempts(0).goal(), v1::DesiredAttempt::FORGET);
  EXPECT_EQ(worker_.answer().artifacts_size(), 0);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(worker_.answer().attempts_size(), 0);
}

TEST_F(SchedulerEnd, FilesThatAreGoneAreNoLongerAskedFor) {
  *worker_.held[0].add_artifacts() = Model();
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  worker_.RestartAgent();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_TRUE(plane_.store.ListWantedArtifacts(job_)->empty());
  EXPECT_EQ(plane_.scheduler->CheckFence(ref_).code(), absl::StatusCode::kAborted);
}

TEST_F(SchedulerEnd, AWorkerThatNeverComesBackIsForgottenWithItsFiles) {
  *worker_.held[0].add_artifacts() = Model();
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  plane_.Pass(seconds(30));
  plane_.Pass(seconds(600));
  EXPECT_TRUE(plane_.store.ListWantedArtifacts(job_)->empty());
}

TEST_F(SchedulerEnd, FilesWithHostileNamesAreNotAskedFor) {
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "a//b", "", "model.safetensors", "model.safetensors"}) {
    v1::Artifact artifact = Model();
    artifact.set_name(name);
    *worker_.held[0].add_artifacts() = artifact;
  }
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_EQ(worker_.answer().artifacts_size(), 1);
}

}  // namespace
}  // namespace mantissa::server
