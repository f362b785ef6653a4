// Requeued, updated, deleted; and workers that are drained.
#include "control_plane.h"

namespace mantissa::server {
namespace {

using testing::IsEmpty;

class SchedulerRequests : public testing::Test {
 protected:
  SchedulerRequests() : worker_(plane_, "ws-1") { EXPECT_TRUE(worker_.Sync().ok()); }

  v1::DesiredAttempt::Goal Goal() { return plane_.scheduler->DesiredState("ws-1", plane_.now).attempts(0).goal(); }
  absl::StatusOr<v1::Job> Update(const std::string& id, const v1::JobSpec& spec, int32_t revision = 1) {
    auto job =
        plane_.scheduler->Update(id, "", revision, spec, spec::ResolveDefaults(spec), plane_.now, plane_.changes);
    plane_.Commit();
    return job;
  }
  // A job that has run and ended, with one checkpoint.
  std::string Ended() {
    const std::string id = plane_.Submit().id();
    const v1::AttemptRef ref = worker_.RunFirst();
    EXPECT_TRUE(plane_.CommitCheckpoint(ref, 3).ok());
    EXPECT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
    EXPECT_TRUE(worker_.Sync().ok());
    return id;
  }

  ControlPlane plane_;
  FakeWorker worker_;
};

TEST_F(SchedulerRequests, ARunningJobIsSavedAndQueuedAgainAtNoCost) {
  const std::string id = plane_.Submit().id();
  const v1::AttemptRef ref = worker_.RunFirst();
  ASSERT_TRUE(plane_.Requeue(id).ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::RUNNING) << "until its worker has stopped it";
  EXPECT_EQ(Goal(), v1::DesiredAttempt::STOP_WITH_CHECKPOINT);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref, 7).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED).ok());
  EXPECT_EQ(plane_.Attempt(id, 1).state(), v1::Attempt::STOPPED);
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::REQUEUED);
  EXPECT_EQ(plane_.StateOf(id), v1::Job::STARTING) << "there is no other";
  EXPECT_EQ(plane_.Attempt(id, 2).resumed_from(), "attempt-0001/step-00000007");
}

TEST_F(SchedulerRequests, ARequeueWhoseCheckpointCannotBeWrittenIsGivenUp) {
  const std::string id = plane_.Submit().id();
  worker_.RunFirst();
  ASSERT_TRUE(plane_.Requeue(id).ok());
  worker_.held[0].set_declined_stops(1);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::RUNNING);
  EXPECT_EQ(Goal(), v1::DesiredAttempt::RUN);
}

TEST_F(SchedulerRequests, ABackOffEndsAtOnce) {
  const std::string id = plane_.Submit().id();
  worker_.RunFirst();
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::CRASHED).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_EQ(plane_.Job(id).reason(), v1::Reason::BACKOFF);
  ASSERT_TRUE(plane_.Requeue(id).ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::STARTING);
}

TEST_F(SchedulerRequests, APausedJobIsNotRequeued) {
  const std::string id = plane_.Submit().id();
  worker_.RunFirst();
  ASSERT_TRUE(plane_.Pause(id).ok());
  EXPECT_EQ(ReasonOf(plane_.Requeue(id)), kWrongState);
}

TEST_F(SchedulerRequests, ANewPriorityMovesItInTheQueue) {
  const std::string running = plane_.Submit().id();
  worker_.RunFirst();
  const std::string first = plane_.Submit().id(), second = plane_.Submit().id();
  v1::JobSpec spec = SyntheticSpec();
  spec.set_priority(5);
  (*spec.mutable_labels())["team"] = "nlp";
  const absl::StatusOr<v1::Job> updated = Update(second, spec);
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->spec_revision(), 2);
  EXPECT_EQ(plane_.scheduler->QueuePosition(second), 1);
  EXPECT_EQ(plane_.scheduler->QueuePosition(first), 2);
  EXPECT_EQ(plane_.Job(second).spec().priority(), 5);
  EXPECT_EQ(plane_.Job(second).labels().at("team"), "nlp");
  EXPECT_EQ(plane_.Telemetry(second).back().event().reason(), "UPDATED");
  plane_.Restart();
  EXPECT_EQ(plane_.scheduler->QueuePosition(second), 1);
}

TEST_F(SchedulerRequests, ANewLimitCountsFromNowOnAndARunningJobGoesOn) {
  const std::string id = plane_.Submit().id();
  worker_.RunFirst();
  plane_.Pass(seconds(10));
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_timeouts()->mutable_total()->set_seconds(15);
  ASSERT_TRUE(Update(id, spec).ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::RUNNING);
  plane_.Pass(seconds(5));
  EXPECT_EQ(plane_.Job(id).reason(), v1::Reason::DEADLINE);
}

TEST_F(SchedulerRequests, OfTwoUpdatesFromOneRevisionTheSecondIsTold) {
  const std::string id = plane_.Submit().id();
  ASSERT_TRUE(Update(id, SyntheticSpec()).ok());
  EXPECT_EQ(ReasonOf(Update(id, SyntheticSpec()).status()), kEtagMismatch);
  EXPECT_TRUE(Update(id, SyntheticSpec(), 2).ok());
}

TEST_F(SchedulerRequests, ADrainedWorkerIsEmptiedAndGetsNoMoreUntilThatIsUndone) {
  const std::string id = plane_.Submit().id();
  const v1::AttemptRef ref = worker_.RunFirst();
  const int64_t revision = plane_.scheduler->DesiredRevision("ws-1");
  ASSERT_TRUE(plane_.Drain("ws-1").ok());
  EXPECT_GT(plane_.scheduler->DesiredRevision("ws-1"), revision);
  EXPECT_TRUE(plane_.scheduler->DesiredState("ws-1", plane_.now).drain());
  EXPECT_EQ(Goal(), v1::DesiredAttempt::STOP_WITH_CHECKPOINT);
  ASSERT_TRUE(plane_.CommitCheckpoint(ref, 7).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED).ok());
  EXPECT_EQ(plane_.Attempt(id, 1).state(), v1::Attempt::STOPPED);
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::WORKER_STOPPED);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED);

  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED) << "the wish outlives the server";
  worker_.RestartAgent();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED) << "and the agent";
  EXPECT_TRUE(plane_.scheduler->Workers(plane_.now)[0].draining());
  EXPECT_TRUE(plane_.scheduler->Workers(plane_.now)[0].drain_requested());

  ASSERT_TRUE(plane_.Drain("ws-1", /*undo=*/true).ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::STARTING);
  EXPECT_EQ(plane_.Attempt(id, 2).resumed_from(), "attempt-0001/step-00000007");
  EXPECT_FALSE(plane_.scheduler->Workers(plane_.now)[0].draining());
}

TEST_F(SchedulerRequests, ADrainedWorkersJobsGoOnElsewhere) {
  const std::string id = plane_.Submit().id();
  const v1::AttemptRef ref = worker_.RunFirst();
  FakeWorker other(plane_, "ws-2");
  ASSERT_TRUE(other.Sync().ok());
  ASSERT_TRUE(plane_.Drain("ws-1").ok());
  ASSERT_TRUE(plane_.CommitCheckpoint(ref, 9).ok());
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::WORKER_STOPPED).ok());
  const v1::AttemptRef second = other.RunFirst();
  EXPECT_EQ(second.job_id(), id);
  EXPECT_EQ(plane_.Attempt(id, 2).resumed_from(), "attempt-0001/step-00000009");
}

TEST_F(SchedulerRequests, DrainingTwiceIsOnceAndAWorkerNobodyKnowsIsNotFound) {
  ASSERT_TRUE(plane_.Drain("ws-1").ok());
  const int commits = plane_.store.commits();
  ASSERT_TRUE(plane_.Drain("ws-1").ok());
  EXPECT_EQ(plane_.store.commits(), commits);
  EXPECT_EQ(plane_.Drain("ws-9").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(plane_.Drain("ws-9", /*undo=*/true).code(), absl::StatusCode::kNotFound);
  plane_.Restart();
  EXPECT_TRUE(plane_.Drain("ws-1", /*undo=*/true).ok()) << "it was never heard of by this server, but drained";
}

TEST_F(SchedulerRequests, ADeletedJobIsGoneAndItsWorkerDeletesItsCheckpoints) {
  const std::string id = Ended();
  ASSERT_TRUE(plane_.Delete(id).ok());
  EXPECT_FALSE(plane_.store.GetJob(id, "").ok());
  const auto deletions = plane_.scheduler->DesiredState("ws-1", plane_.now).deletions();
  ASSERT_EQ(deletions.size(), 1);
  EXPECT_EQ(deletions[0].path(), id + "/attempt-0001/step-00000003");
  EXPECT_TRUE(plane_.store.ListDeletedJobs("", 10)->front().has_checkpoints) << "until the files are gone";
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_THAT(plane_.scheduler->DesiredState("ws-1", plane_.now).deletions(), IsEmpty());
  EXPECT_FALSE(plane_.store.ListDeletedJobs("", 10)->front().has_checkpoints);
}

TEST_F(SchedulerRequests, CheckpointsOutOfReachAreDeletedWhenTheirStorageIsBack) {
  const std::string id = Ended();
  plane_.Restart();
  ASSERT_TRUE(plane_.Delete(id).ok());
  plane_.Restart();
  FakeWorker elsewhere(plane_, "ws-2");
  elsewhere.request().mutable_roots(0)->set_storage_id("storage-2");
  ASSERT_TRUE(elsewhere.Sync().ok());
  EXPECT_THAT(elsewhere.answer().deletions(), IsEmpty());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(worker_.answer().deletions_size(), 1);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_FALSE(plane_.store.ListDeletedJobs("", 10)->front().has_checkpoints);
}

TEST_F(SchedulerRequests, AWorkerThatGoesForGoodLeavesTheDeletionToOthers) {
  const std::string id = Ended();
  ASSERT_TRUE(plane_.Delete(id).ok());
  while (!plane_.scheduler->Workers(plane_.now).empty()) plane_.PassToNextDeadline();
  ASSERT_THAT(plane_.scheduler->Workers(plane_.now), IsEmpty());
  FakeWorker other(plane_, "ws-2");
  ASSERT_TRUE(other.Sync().ok());
  EXPECT_EQ(other.answer().deletions_size(), 1);
}

TEST_F(SchedulerRequests, WhatIsLiveOrNeededOrGoneIsNotDeleted) {
  const std::string source = Ended();
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_training()->mutable_init_from()->set_job_id(source);
  const std::vector<v1::Checkpoint> of_source = plane_.store.ListCheckpoints(source).value();
  const auto heirs =
      plane_.scheduler->SubmitBatch({Scheduler::Prepare(spec, spec::ResolveDefaults(spec), of_source[0])}, "default",
                                    "", "", plane_.now, plane_.changes);
  ASSERT_TRUE(heirs.ok());
  plane_.Commit();
  const std::string heir = heirs->front().head->id();
  EXPECT_EQ(ReasonOf(plane_.Delete(heir)), kWrongState);
  EXPECT_EQ(ReasonOf(plane_.Delete(source)), kInUse);
  ASSERT_TRUE(plane_.Cancel(heir).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_EQ(plane_.StateOf(heir), v1::Job::CANCELLED);
  const JobDeletion deletion{source, plane_.Job(source).etag(), "default"};
  ASSERT_TRUE(plane_.Delete(source).ok());
  EXPECT_EQ(plane_.scheduler->Delete(deletion, {}, plane_.now, plane_.changes).code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(plane_.changes.NeedsCommit());
}

TEST_F(SchedulerRequests, FilesOfADeletedJobAreNoLongerAskedFor) {
  const std::string id = plane_.Submit().id();
  worker_.RunFirst();
  v1::Artifact& model = *worker_.held[0].add_artifacts();
  model.set_name("model.safetensors");
  model.set_sha256(std::string(64, 'a'));
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED).ok());
  ASSERT_EQ(worker_.answer().artifacts_size(), 1);
  ASSERT_TRUE(plane_.Delete(id).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_THAT(worker_.answer().artifacts(), IsEmpty());
  EXPECT_TRUE(worker_.held.empty()) << "and forgotten";
}

}  // namespace
}  // namespace mantissa::server
