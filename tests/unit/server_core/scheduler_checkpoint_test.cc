// Checkpoints: committed once, resumed from newest first, deleted only by the server's word.
#include "control_plane.h"

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

}  // namespace
}  // namespace mantissa::server
