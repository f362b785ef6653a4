// Checkpoints: committed once, resumed from newest first, deleted only by the server's word.
#include "control_plane.h"
#include "server/core/job_state.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;

class SchedulerCheckpoint : public testing::Test {
 protected:
  SchedulerCheckpoint() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    ref_ = worker_.RunFirst();
  }

  std::vector<int32_t> StoredSteps() {
    std::vector<int32_t> steps;
    const std::vector<v1::Checkpoint> checkpoints = plane_.store.ListCheckpoints(job_).value();
    for (const v1::Checkpoint& checkpoint : checkpoints) steps.push_back(checkpoint.step());
    return steps;
  }
  std::vector<std::string> Deletions() {
    std::vector<std::string> names;
    for (const auto& deletion : worker_.answer().deletions()) names.push_back(deletion.name());
    return names;
  }
  // Loses the attempt and runs the next one; returns its assignment.
  v1::Assignment NextAttempt(FakeWorker& worker) {
    worker_.held.clear();
    EXPECT_TRUE(worker_.Sync().ok());
    plane_.PassUntilPlaced(job_);
    EXPECT_TRUE(worker.Sync().ok());
    EXPECT_EQ(worker.answer().attempts_size(), 1);
    return worker.answer().attempts(0).assignment();
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerCheckpoint, CommittingTwiceIsCommittingOnce) {
  auto first = plane_.CommitCheckpoint(ref_, 100);
  ASSERT_TRUE(first.ok());
  const int commits = plane_.store.commits();
  plane_.now.wall += seconds(1);
  auto second = plane_.CommitCheckpoint(ref_, 100);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->checkpoint().SerializeAsString(), first->checkpoint().SerializeAsString());
  EXPECT_EQ(plane_.store.commits(), commits);
}

TEST_F(SchedulerCheckpoint, TheSameNameWithAnotherManifestIsRefused) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100, true, 'a').ok());
  auto other = plane_.CommitCheckpoint(ref_, 100, true, 'b');
  EXPECT_EQ(other.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(ReasonOf(other.status()), kCheckpointConflict);
}

TEST_F(SchedulerCheckpoint, StepsOnlyGrowWithinAnAttempt) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  EXPECT_EQ(plane_.CommitCheckpoint(ref_, 99).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(SchedulerCheckpoint, DeletionsAreNamedUntilTheWorkerHasReadThem) {
  for (int step : {100, 200}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step)->deletions().empty());
  auto third = plane_.CommitCheckpoint(ref_, 300);
  ASSERT_EQ(third->deletions_size(), 1);
  EXPECT_EQ(third->deletions(0).name(), "attempt-0001/step-00000100");
  EXPECT_EQ(third->deletions(0).storage_id(), "storage-1");
  EXPECT_FALSE(third->deletions(0).path().empty());
  // The reply was lost: every answer names it, and the row stays, until a report says that it was carried out.
  worker_.request().set_report_number(10);
  ASSERT_TRUE(worker_.Send().ok());
  EXPECT_THAT(StoredSteps(), ElementsAre(300, 200, 100));
  worker_.Read();
  EXPECT_THAT(Deletions(), ElementsAre("attempt-0001/step-00000100"));
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_THAT(Deletions(), ElementsAre());
  EXPECT_THAT(StoredSteps(), ElementsAre(300, 200));
}

TEST_F(SchedulerCheckpoint, DeletionsAreNamedAgainAfterARestart) {
  for (int step : {100, 200, 300}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 400).ok());
  worker_.Read();
  EXPECT_THAT(Deletions(), ElementsAre("attempt-0001/step-00000100", "attempt-0001/step-00000200"));
}

TEST_F(SchedulerCheckpoint, TheLastFiniteOneIsKept) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  for (int step : {200, 300, 400}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step, /*finite=*/false).ok());
  worker_.Read();
  EXPECT_THAT(Deletions(), ElementsAre("attempt-0001/step-00000200"));
}

TEST_F(SchedulerCheckpoint, TheNextAttemptResumesFromTheNewestFirst) {
  for (int step : {100, 200, 300}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  const v1::Assignment assignment = NextAttempt(worker_);
  ASSERT_EQ(assignment.resume_from_size(), 2);
  EXPECT_EQ(assignment.resume_from(0).step(), 300);
  EXPECT_EQ(assignment.resume_from(1).step(), 200);
  EXPECT_EQ(plane_.Attempt(job_, 2).resumed_from(), "attempt-0001/step-00000300");
}

TEST_F(SchedulerCheckpoint, WhatARunningAttemptResumesFromIsNotDeleted) {
  for (int step : {100, 200}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  NextAttempt(worker_);
  const v1::AttemptRef second = worker_.held.at(0).ref();
  for (int step : {250, 300, 350}) ASSERT_TRUE(plane_.CommitCheckpoint(second, step).ok());
  worker_.Read();
  EXPECT_THAT(Deletions(), ElementsAre("attempt-0001/step-00000100", "attempt-0002/step-00000250"));
}

TEST_F(SchedulerCheckpoint, AJobWaitsForTheStorageOfItsCheckpoint) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  worker_.request().set_draining(true);
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED).ok());
  FakeWorker far(plane_, "ws-2");
  far.request().mutable_roots(0)->set_storage_id("storage-2");
  ASSERT_TRUE(far.Sync().ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::CHECKPOINT_UNREACHABLE);
  EXPECT_THAT(plane_.Job(job_).state_message(), testing::HasSubstr("storage-1"));
  FakeWorker near(plane_, "ws-3");
  ASSERT_TRUE(near.Sync().ok());
  EXPECT_EQ(near.answer().attempts(0).assignment().resume_from_size(), 1);
}

TEST_F(SchedulerCheckpoint, HostileCheckpointsAreRefused) {
  v1::CommitCheckpointRequest request;
  *request.mutable_ref() = ref_;
  EXPECT_EQ(plane_.scheduler->CommitCheckpoint(request, plane_.now, plane_.changes).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(plane_.changes.NeedsCommit());
}

TEST_F(SchedulerCheckpoint, TheLastOneMayBeMarkedAsTheLast) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  v1::CommitCheckpointRequest request;
  *request.mutable_ref() = ref_;
  *request.mutable_checkpoint() = plane_.store.ListCheckpoints(job_)->front();
  request.mutable_checkpoint()->set_final(true);
  auto response = plane_.scheduler->CommitCheckpoint(request, plane_.now, plane_.changes);
  plane_.Commit();
  ASSERT_TRUE(response.ok());
  EXPECT_TRUE(response->checkpoint().final());
  EXPECT_TRUE(plane_.store.ListCheckpoints(job_)->front().final());
  EXPECT_EQ(plane_.store.ListCheckpoints(job_)->size(), 1u);
}

TEST_F(SchedulerCheckpoint, AnAssignmentNamesEveryCommittedCheckpointSoThatTheRestCanBeReclaimed) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100, true, 'a', "storage-9").ok());
  for (int step : {200, 300, 400}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  const v1::Assignment assignment = NextAttempt(worker_);
  ASSERT_TRUE(assignment.has_committed());
  // That on other storage, which may be deleted but is not, too: nothing named is anybody's to reclaim. 200 is gone.
  EXPECT_THAT(assignment.committed().names(),
              ElementsAre("attempt-0001/step-00000100", "attempt-0001/step-00000300", "attempt-0001/step-00000400"));
}

// A job that begins from another job's checkpoint.
class SchedulerInitFrom : public SchedulerCheckpoint {
 protected:
  v1::Checkpoint CheckpointOf(int32_t step) {
    const std::vector<v1::Checkpoint> checkpoints = plane_.store.ListCheckpoints(job_).value();
    for (const v1::Checkpoint& checkpoint : checkpoints) {
      if (checkpoint.step() == step) return checkpoint;
    }
    ADD_FAILURE() << "no checkpoint at " << step;
    return {};
  }
  absl::StatusOr<std::string> SubmitFrom(int32_t step, const v1::Checkpoint& found,
                                         const v1::JobSpec& base = SyntheticSpec()) {
    v1::JobSpec spec = base;
    spec.mutable_training()->mutable_init_from()->set_job_id(job_);
    spec.mutable_training()->mutable_init_from()->set_step(step);
    auto jobs = plane_.scheduler->SubmitBatch({Scheduler::Prepare(spec, spec::ResolveDefaults(spec), found)}, "default",
                                              "", "", plane_.now, plane_.changes);
    if (!jobs.ok()) return jobs.status();
    plane_.Commit();
    return jobs->front().head->id();
  }
  void EndSource() { ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok()); }
};

TEST_F(SchedulerInitFrom, TheAssignmentCarriesTheCheckpointAndTheJobShowsIt) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  const v1::Checkpoint source = CheckpointOf(100);
  EndSource();
  const auto id = SubmitFrom(0, source);
  ASSERT_TRUE(id.ok()) << id.status();
  EXPECT_EQ(plane_.Job(*id).init_from().name(), "attempt-0001/step-00000100");
  ASSERT_TRUE(worker_.Sync().ok());
  const v1::Assignment* assignment = nullptr;
  for (const auto& desired : worker_.answer().attempts()) {
    if (desired.ref().job_id() == *id) assignment = &desired.assignment();
  }
  ASSERT_NE(assignment, nullptr);
  EXPECT_EQ(assignment->init_from().SerializeAsString(), source.SerializeAsString());
  EXPECT_EQ(assignment->resume_from_size(), 0);
}

TEST_F(SchedulerInitFrom, RunsOnlyWhereTheCheckpointIs) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100, true, 'a', "storage-9").ok());
  const v1::Checkpoint source = CheckpointOf(100);
  EndSource();
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_retry()->set_restart_without_checkpoint(true);
  const auto id = SubmitFrom(0, source, spec);
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(plane_.StateOf(*id), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Job(*id).reason(), v1::Reason::CHECKPOINT_UNREACHABLE);
  EXPECT_THAT(plane_.Job(*id).state_message(),
              testing::AllOf(testing::HasSubstr("the checkpoint that training.init_from names is on storage storage-9"),
                             testing::Not(testing::HasSubstr("restart_without_checkpoint"))));
  FakeWorker near(plane_, "ws-9");
  near.request().mutable_roots(0)->set_storage_id("storage-9");
  ASSERT_TRUE(near.Sync().ok());
  EXPECT_EQ(plane_.StateOf(*id), v1::Job::STARTING);
}

TEST_F(SchedulerInitFrom, IsNotDeletedBeforeTheJobThatBeginsFromItHasEnded) {
  for (int step : {100, 200}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  const auto first = SubmitFrom(100, CheckpointOf(100));
  const auto second = SubmitFrom(100, CheckpointOf(100));
  ASSERT_TRUE(first.ok() && second.ok());
  for (int step : {300, 400}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  worker_.Read();
  EXPECT_THAT(Deletions(), ElementsAre("attempt-0001/step-00000200"));
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 500).ok());
  worker_.Read();
  EXPECT_THAT(Deletions(), testing::Not(testing::Contains("attempt-0001/step-00000100"))) << "after a restart, too";
  ASSERT_TRUE(plane_.Cancel(*first).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 600).ok());
  worker_.Read();
  EXPECT_THAT(Deletions(), testing::Not(testing::Contains("attempt-0001/step-00000100"))) << "one still begins from it";
  ASSERT_TRUE(plane_.Cancel(*second).ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 700).ok());
  worker_.Read();
  EXPECT_THAT(Deletions(), testing::Contains("attempt-0001/step-00000100"));
}

TEST_F(SchedulerInitFrom, TakesTheNewestAsOfNowWhereTheJobStillRuns) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  const v1::Checkpoint seen = CheckpointOf(100);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 200).ok());
  const auto id = SubmitFrom(0, seen);
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(plane_.Job(*id).init_from().step(), 200);
}

TEST_F(SchedulerInitFrom, WhatIsBeingDeletedIsRefusedAndNothingIsMade) {
  ASSERT_TRUE(plane_.CommitCheckpoint(ref_, 100).ok());
  const v1::Checkpoint seen = CheckpointOf(100);
  for (int step : {200, 300}) ASSERT_TRUE(plane_.CommitCheckpoint(ref_, step).ok());
  EXPECT_TRUE(absl::IsUnavailable(SubmitFrom(100, seen).status())) << "of a job that runs";
  EXPECT_FALSE(plane_.changes.NeedsCommit());
  // The worker has ended the job, and not yet said that it carried the deletion out.
  worker_.held.at(0).set_state(v1::Attempt::SUCCEEDED);
  worker_.request().set_report_number(worker_.request().report_number() + 1);
  ASSERT_TRUE(worker_.Send().ok());
  ASSERT_TRUE(IsTerminal(plane_.StateOf(job_)));
  EXPECT_TRUE(absl::IsUnavailable(SubmitFrom(100, seen).status())) << "of one that has ended";
}

}  // namespace
}  // namespace mantissa::server
