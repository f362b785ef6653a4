// Where a ROLLBACK goes back to.
#include "scheduler_intervention.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST_F(SchedulerIntervention, ARollbackGoesToTheNewestFiniteOneAndAbandonsWhatCameLater) {
  Begin(Precision::ROLLBACK);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 0).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 200).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 300, /*finite=*/false).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 400, /*finite=*/false).ok());
  ExpectTrouble(401, 450);
  EXPECT_EQ(plane_.Job(job_).lineage().checkpoint(), "attempt-0001/step-00000200");
  EXPECT_EQ(plane_.Attempt(job_, 2).resumed_from(), "attempt-0001/step-00000200");
  EXPECT_THAT(Candidates(), ElementsAre("attempt-0001/step-00000200"));
  EXPECT_THAT(Abandoned(),
              ElementsAre("attempt-0001/step-00000400", "attempt-0001/step-00000300", "attempt-0001/step-00000100"))
      << "the oldest was named for deletion before";
  // For the attempt after that as well, from a server that was started since, and they are deleted.
  const v1::AttemptRef second = RunNext();
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(second, 250).ok());
  worker_.Read();
  std::vector<std::string> deletions;
  for (const auto& deletion : worker_.answer().deletions()) deletions.push_back(deletion.name());
  EXPECT_THAT(deletions, ElementsAre("attempt-0001/step-00000300", "attempt-0001/step-00000400"))
      << "the oldest is gone by now";
}

// Iterations of a spike have been applied: what was saved among them has it in its parameters.
TEST_F(SchedulerIntervention, ALossThatJumpedIsRolledBackToBeforeTheJump) {
  v1::JobSpec spec = Spec(Precision::FAIL);
  spec.mutable_training()->mutable_precision()->mutable_loss_spike()->set_action(v1::LossSpikeGuard::ROLLBACK);
  job_ = plane_.Submit(spec).id();
  ref_ = worker_.RunFirst();
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 0).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 200).ok());
  Trouble(200, 202, v1::Reason::LOSS_SPIKE);
  ASSERT_TRUE(worker_.Sync().ok());
  const v1::Job job = plane_.Job(job_);
  EXPECT_EQ(job.lineage().checkpoint(), "attempt-0001/step-00000100");
  EXPECT_EQ(job.lineage().rollbacks(), 1);
  EXPECT_EQ(job.lineage().learning_rate_factor(), 0.5);
  EXPECT_EQ(job.lineage().skipped_windows(0).first(), 199);
  EXPECT_EQ(job.lineage().skipped_windows(0).last(), 201);
  EXPECT_THAT(Abandoned(), ElementsAre("attempt-0001/step-00000200"));
  EXPECT_THAT(Interventions().at(0).message(),
              HasSubstr("iterations 200 to 202 had a loss far above its running median"));
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::ROLLED_BACK);
}

TEST_F(SchedulerIntervention, ALossThatJumpedWhereNobodyGuardsItIsAFailure) {
  Begin(Precision::ROLLBACK);
  Trouble(200, 202, v1::Reason::LOSS_SPIKE);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::LOSS_SPIKE);
}

TEST_F(SchedulerIntervention, WithoutAFiniteOneItGoesBackToTheBeginning) {
  Begin(Precision::ROLLBACK);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 0).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100, /*finite=*/false).ok());
  ExpectTrouble(101, 150);
  EXPECT_EQ(plane_.Job(job_).lineage().checkpoint(), "attempt-0001/step-00000000");
  EXPECT_THAT(Candidates(), ElementsAre("attempt-0001/step-00000000"));
  EXPECT_THAT(Abandoned(), ElementsAre("attempt-0001/step-00000100"));
}

TEST_F(SchedulerIntervention, WithoutAnyItBeginsFromTheSeed) {
  Begin(Precision::ROLLBACK);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100, /*finite=*/false).ok());
  ExpectTrouble(101, 150);
  EXPECT_EQ(plane_.Job(job_).lineage().checkpoint(), "");
  EXPECT_EQ(Assignment().resume_from_size(), 0);
  EXPECT_THAT(Interventions().at(0).message(), HasSubstr("rolled back to generation 0: "));
}

TEST_F(SchedulerIntervention, ACheckpointOfAnotherCourseOfTheRunIsNotGoneBackTo) {
  v1::JobSpec spec = Spec(Precision::ROLLBACK);
  spec.mutable_retry()->set_max_attempts(2);
  job_ = plane_.Submit(spec).id();
  ref_ = worker_.RunFirst();
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 200).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 400).ok());
  worker_.held.clear();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.PassUntilPlaced(job_);
  ASSERT_TRUE(worker_.Sync().ok());
  RunNext();
  // Its trainer found 400 damaged, and went on from 200.
  ExpectTrouble(250, 299);
  EXPECT_EQ(plane_.Job(job_).lineage().checkpoint(), "attempt-0001/step-00000200");
  EXPECT_THAT(Abandoned(), ElementsAre("attempt-0001/step-00000400"));
}

}  // namespace
}  // namespace mantissa::server
