// ROLLBACK and FALLBACK: recorded once, in one commit with the attempt that goes on, and true for every later one.
#include "scheduler_intervention.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(SchedulerIntervention, EndAndNextAttemptOnTheSameDeviceAreOneCommit) {
  Begin(Precision::FALLBACK, {Precision::BF16});
  const int commits = plane_.store.commits();
  Trouble(1, 3);
  worker_.request().set_report_number(10);
  ASSERT_TRUE(worker_.Send().ok());
  EXPECT_EQ(plane_.store.commits(), commits + 1);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::FAILED);
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::FELL_BACK);
  EXPECT_EQ(plane_.Attempt(job_, 1).message(), "the loss scale is at its floor");
  EXPECT_EQ(plane_.Attempt(job_, 2).state(), v1::Attempt::STARTING);
  EXPECT_EQ(plane_.Attempt(job_, 2).placements(0).worker_id(), "ws-1");
  EXPECT_EQ(plane_.Attempt(job_, 2).placements(0).device_ids(0), plane_.Attempt(job_, 1).placements(0).device_ids(0));
  const v1::Job job = plane_.Job(job_);
  EXPECT_EQ(job.lineage().number(), 2);
  EXPECT_EQ(job.lineage().precision(), Precision::BF16);
  EXPECT_EQ(job.resolved_spec().training().precision().mode(), Precision::FP16) << "the spec stays what it was";
  worker_.Read();
  EXPECT_EQ(Assignment().lineage().SerializeAsString(), job.lineage().SerializeAsString());
}

TEST_F(SchedulerIntervention, TheDeviceIsKeptEvenWhereAnotherJobWaitsForOne) {
  Begin(Precision::FALLBACK, {Precision::BF16});
  v1::JobSpec urgent = SyntheticSpec();
  urgent.set_priority(900);
  plane_.Submit(urgent);
  const std::string waiting = plane_.Submit(urgent).id();
  ASSERT_EQ(plane_.StateOf(waiting), v1::Job::QUEUED);
  Trouble(1, 3);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  EXPECT_EQ(plane_.StateOf(waiting), v1::Job::QUEUED);
}

TEST_F(SchedulerIntervention, ItIsToldAsAnEventOfTheJob) {
  Begin(Precision::ROLLBACK);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 0).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 200).ok());
  ExpectTrouble(231, 280);
  ASSERT_EQ(Interventions().size(), 1u);
  const v1::JobEvent event = Interventions().front();
  EXPECT_EQ(event.severity(), v1::JobEvent::WARNING);
  EXPECT_EQ(event.reason(), "ROLLBACK");
  EXPECT_EQ(event.iteration(), 280);
  EXPECT_EQ(event.intervention().attempt(), 1);
  EXPECT_EQ(event.intervention().intervention().reason(), v1::Reason::SCALE_AT_MINIMUM);
  EXPECT_EQ(event.intervention().lineage().SerializeAsString(), plane_.Job(job_).lineage().SerializeAsString());
  EXPECT_EQ(event.message(),
            "rolled back to checkpoint attempt-0001/step-00000200: iterations 231 to 280 were skipped; goes on without "
            "their windows at 0.5 x the learning rate (1 of 3)");
  // Before the end that it brought about.
  const auto telemetry = plane_.Telemetry(job_);
  const size_t count = telemetry.size();
  EXPECT_TRUE(telemetry[count - 3].event().has_intervention());
  EXPECT_EQ(telemetry[count - 2].event().state_change().to(), v1::Job::QUEUED);
  EXPECT_EQ(telemetry[count - 1].event().state_change().to(), v1::Job::STARTING);
}

TEST_F(SchedulerIntervention, AFallbackSaysFromWhereToWhere) {
  Begin(Precision::FALLBACK, {Precision::BF16});
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 5).ok());
  ExpectTrouble(6, 6);
  EXPECT_EQ(Interventions().at(0).message(),
            "falls back from FP16 to BF16 at checkpoint attempt-0001/step-00000005: iteration 6 was skipped");
}

TEST_F(SchedulerIntervention, AReportThatComesTwiceIsTakenOnce) {
  Begin(Precision::ROLLBACK);
  Trouble(1, 3);
  const v1::AttemptReport said = worker_.held.at(0);
  for (int i = 0; i < 3; ++i) {
    worker_.request().set_report_number(10 + i);
    ASSERT_TRUE(worker_.Send().ok());
  }
  EXPECT_EQ(plane_.Job(job_).lineage().number(), 2);
  EXPECT_EQ(plane_.Job(job_).attempt(), 2);
  EXPECT_EQ(Interventions().size(), 1u);
  // To a server that was started since as well.
  plane_.Restart();
  worker_.held = {said};
  worker_.request().set_report_number(20);
  ASSERT_TRUE(worker_.Send().ok());
  EXPECT_EQ(plane_.Job(job_).lineage().number(), 2);
  EXPECT_EQ(Interventions().size(), 1u);
}

TEST_F(SchedulerIntervention, AServerThatDiedBeforeTheCommitIsToldAgain) {
  Begin(Precision::ROLLBACK);
  Trouble(1, 3);
  const v1::AttemptReport said = worker_.held.at(0);
  worker_.request().set_report_number(10);
  *worker_.request().add_attempts() = said;
  ASSERT_TRUE(plane_.scheduler->Report(worker_.request(), plane_.now, plane_.changes).ok());
  plane_.Restart();  // what was decided is lost
  EXPECT_FALSE(plane_.Job(job_).has_lineage());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  worker_.held = {said};
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.Job(job_).lineage().number(), 2);
  EXPECT_EQ(plane_.Job(job_).attempt(), 2);
}

TEST_F(SchedulerIntervention, WaitsForTheTelemetryLikeEveryEnd) {
  Begin(Precision::ROLLBACK);
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 2)}).ok());
  Trouble(1, 3);
  worker_.held.at(0).set_last_attempt_sequence(3);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  ASSERT_TRUE(plane_.Append(ref_, {Records(3, 3, 1)}).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  EXPECT_EQ(plane_.Job(job_).attempt(), 2);
}

TEST_F(SchedulerIntervention, ACancelThatIsUnderWayWins) {
  Begin(Precision::FALLBACK, {Precision::BF16});
  ASSERT_TRUE(plane_.Cancel(job_).ok());
  ExpectTrouble(1, 3);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::CANCELLED);
  EXPECT_FALSE(plane_.Job(job_).has_lineage());
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::SCALE_AT_MINIMUM);
  EXPECT_THAT(Interventions(), IsEmpty());
}

TEST_F(SchedulerIntervention, AnAttemptWhoseLeaseIsLostCannotAskForOne) {
  Begin(Precision::ROLLBACK);
  Trouble(1, 3);
  const v1::AttemptReport said = worker_.held.at(0);
  plane_.Pass(seconds(30));
  ASSERT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  worker_.held = {said};
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_FALSE(plane_.Job(job_).has_lineage());
  EXPECT_THAT(Interventions(), IsEmpty());
}

TEST_F(SchedulerIntervention, UsesNoRetryAndNoBackOff) {
  Begin(Precision::FALLBACK, {Precision::BF16, Precision::FP32});
  ExpectTrouble(1, 3);
  RunNext();
  Trouble(10, 59);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING) << "retry.max_attempts is 1";
  EXPECT_EQ(plane_.Job(job_).lineage().precision(), Precision::FP32);
  EXPECT_EQ(plane_.Job(job_).attempt(), 3);
  RunNext();
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::CRASHED).ok());
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::RETRIES_EXHAUSTED) << "as it would have been without them";
}

TEST_F(SchedulerIntervention, UsesNoRetryAfterARestartEither) {
  v1::JobSpec spec = Spec(Precision::FALLBACK, {Precision::BF16});
  spec.mutable_retry()->set_max_attempts(2);
  job_ = plane_.Submit(spec).id();
  ref_ = worker_.RunFirst();
  ExpectTrouble(1, 3);
  RunNext();
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::CRASHED).ok());
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BACKOFF) << "one of two is used";
}

TEST_F(SchedulerIntervention, ALaterAttemptStartsFromTheLineageWhateverEndedTheOneBefore) {
  v1::JobSpec spec = Spec(Precision::FALLBACK, {Precision::BF16});
  spec.mutable_retry()->set_max_attempts(9);
  job_ = plane_.Submit(spec).id();
  ref_ = worker_.RunFirst();
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  ExpectTrouble(101, 150);
  RunNext();
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::KILLED).ok());
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.PassUntilPlaced(job_);
  ASSERT_TRUE(worker_.Sync().ok());
  const v1::Assignment third = Assignment();
  EXPECT_EQ(plane_.Job(job_).attempt(), 3);
  EXPECT_EQ(third.lineage().number(), 2);
  EXPECT_EQ(third.lineage().precision(), Precision::BF16);
  EXPECT_THAT(Candidates(), ElementsAre("attempt-0001/step-00000100"));
}

TEST_F(SchedulerIntervention, AWorkerThatDrainsHandsTheLineageToAnother) {
  Begin(Precision::FALLBACK, {Precision::BF16});
  FakeWorker other(plane_, "ws-2");
  worker_.request().set_draining(true);
  ExpectTrouble(1, 3);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Job(job_).lineage().number(), 2);
  ASSERT_TRUE(other.Sync().ok());
  ASSERT_EQ(other.answer().attempts_size(), 1);
  EXPECT_EQ(other.answer().attempts(0).assignment().lineage().precision(), Precision::BF16);
}

TEST_F(SchedulerIntervention, AWorkerWhoseDeviceIsGoneDoesNotGetItAgain) {
  Begin(Precision::FALLBACK, {Precision::BF16});
  const std::string device = plane_.Attempt(job_, 1).placements(0).device_ids(0);
  const std::string other = device == "cpu-0" ? "cpu-1" : "cpu-0";
  worker_.request().clear_devices();
  *worker_.request().add_devices() = CpuDevice(other);
  ExpectTrouble(1, 3);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  EXPECT_EQ(plane_.Attempt(job_, 2).placements(0).device_ids(0), other);
}

TEST_F(SchedulerIntervention, AWorkerThatNoLongerReachesTheCheckpointDoesNotGetItAgain) {
  Begin(Precision::FALLBACK, {Precision::BF16});
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  worker_.request().mutable_roots(0)->set_storage_id("storage-2");
  ExpectTrouble(101, 150);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::CHECKPOINT_UNREACHABLE);
  EXPECT_EQ(plane_.Job(job_).lineage().number(), 2);
}

TEST_F(SchedulerIntervention, AWorkerThatIsNoLongerHeardOfDoesNotGetItAgain) {
  Begin(Precision::ROLLBACK);
  Trouble(1, 3);
  worker_.held.at(0).set_last_attempt_sequence(5);  // the rest never comes
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.now.steady += seconds(16);
  plane_.Pass(milliseconds(0));
  EXPECT_EQ(plane_.Job(job_).lineage().number(), 2);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING) << "as soon as it is";
}

TEST_F(SchedulerIntervention, AFallbackGoesOnFromWhatItsAttemptSaved) {
  Begin(Precision::FALLBACK, {Precision::FP32});
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 0).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 150).ok());
  ExpectTrouble(101, 150);
  EXPECT_EQ(plane_.Job(job_).lineage().checkpoint(), "attempt-0001/step-00000150");
  EXPECT_THAT(Candidates(), ElementsAre("attempt-0001/step-00000150", "attempt-0001/step-00000100"));
  EXPECT_THAT(Abandoned(), IsEmpty());
}

TEST_F(SchedulerIntervention, RollbacksEndInTheNextPrecisionAndThenInAFailure) {
  Begin(Precision::ROLLBACK, {Precision::FP32});
  std::vector<std::string> course;
  for (int i = 0; i < 4; ++i) {
    ExpectTrouble(100 * i + 1, 100 * i + 3);
    course.push_back(Precision::Mode_Name(plane_.Job(job_).lineage().precision()));
    EXPECT_EQ(plane_.Job(job_).lineage().number(), i + 2);
    RunNext();
  }
  EXPECT_THAT(course, ElementsAre("FP16", "FP16", "FP16", "FP32"));
  EXPECT_EQ(plane_.Job(job_).lineage().rollbacks(), 3);
  EXPECT_EQ(plane_.Job(job_).lineage().learning_rate_factor(), 0.125);
  ExpectTrouble(501, 550);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::SCALE_AT_MINIMUM);
  EXPECT_EQ(plane_.Job(job_).lineage().number(), 5) << "what it failed in stays known";
}

TEST_F(SchedulerIntervention, WhatTheSpecDoesNotAskForIsAFailure) {
  Begin(Precision::FAIL, {Precision::FP32});
  ExpectTrouble(1, 3);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::SCALE_AT_MINIMUM);
}

TEST_F(SchedulerIntervention, WhatNoTrainerSaysIsAFailure) {
  struct Row {
    int32_t first;
    int32_t last;
    v1::Reason::Code reason;
  };
  for (const Row& row :
       {Row{0, 3, v1::Reason::SCALE_AT_MINIMUM}, Row{4, 3, v1::Reason::SCALE_AT_MINIMUM},
        Row{1, std::numeric_limits<int32_t>::max(), v1::Reason::NUMERIC_FAILURE}, Row{1, 3, v1::Reason::BAD_DATA}}) {
    Begin(Precision::ROLLBACK);
    Trouble(row.first, row.last, row.reason);
    ASSERT_TRUE(worker_.Sync().ok());
    EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED) << row.first << " to " << row.last;
    EXPECT_EQ(plane_.Job(job_).reason(), row.reason);
    EXPECT_FALSE(plane_.Job(job_).has_lineage());
    ASSERT_TRUE(worker_.Sync().ok());
  }
}

TEST_F(SchedulerIntervention, AWorkerCannotGiveAnAttemptBackForFreeByItsReason) {
  Begin(Precision::ROLLBACK);
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::ROLLED_BACK).ok());
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::KILLED);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED) << "the only attempt it had";
}

TEST_F(SchedulerIntervention, GenerationZeroBindsAJobToNoStorage) {
  v1::JobSpec spec = Spec(Precision::ROLLBACK);
  spec.mutable_retry()->set_max_attempts(9);
  job_ = plane_.Submit(spec).id();
  ref_ = worker_.RunFirst();
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 0).ok());
  worker_.request().set_draining(true);
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED).ok());
  FakeWorker far(plane_, "ws-2");
  far.request().mutable_roots(0)->set_storage_id("storage-2");
  ASSERT_TRUE(far.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  EXPECT_EQ(far.answer().attempts(0).assignment().resume_from_size(), 0) << "from the seed";
}

TEST_F(SchedulerIntervention, ANormalRetryIsNotOfferedGenerationZeroBesideALaterOne) {
  v1::JobSpec spec = Spec(Precision::ROLLBACK);
  spec.mutable_retry()->set_max_attempts(9);
  job_ = plane_.Submit(spec).id();
  ref_ = worker_.RunFirst();
  for (const int step : {0, 100, 200, 300}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::KILLED).ok());
  plane_.PassUntilPlaced(job_);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_THAT(Candidates(), ElementsAre("attempt-0001/step-00000300", "attempt-0001/step-00000200"));
}

TEST_F(SchedulerIntervention, ANewlyPlacedJobNeedsEveryPrecisionItMayFallBackTo) {
  v1::Device device = CpuDevice();
  device.add_precisions(Precision::FP16);
  device.add_precisions(Precision::FP32);
  worker_.request().clear_devices();
  *worker_.request().add_devices() = device;
  ASSERT_TRUE(worker_.Sync().ok());
  job_ = plane_.Submit(Spec(Precision::FALLBACK, {Precision::BF16})).id();
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_THAT(plane_.Job(job_).state_message(), HasSubstr("needs precision BF16"));
  const std::string clamped = plane_.Submit(Spec(Precision::CLAMP, {Precision::BF16})).id();
  EXPECT_EQ(plane_.StateOf(clamped), v1::Job::STARTING) << "it will never be asked for";
}

TEST_F(SchedulerIntervention, AWorkerWhoseTrainersKnowNoInterventionsGetsNoSuchJob) {
  auto& features = *worker_.request().mutable_features();
  features.erase(std::remove(features.begin(), features.end(), "precision.on_failure.rollback"), features.end());
  ASSERT_TRUE(worker_.Sync().ok());
  job_ = plane_.Submit(Spec(Precision::ROLLBACK)).id();
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_THAT(plane_.Job(job_).state_message(), HasSubstr("precision.on_failure.rollback"));
}

}  // namespace
}  // namespace mantissa::server
