// Submit, idempotency, order of service, cancel.
#include "control_plane.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

TEST(SchedulerSubmit, AQueuedJobSaysWhyItWaits) {
  ControlPlane plane;
  const v1::Job job = plane.Submit();
  EXPECT_EQ(job.id().size(), 26u);
  const v1::Job stored = plane.Job(job.id());
  EXPECT_EQ(stored.state(), v1::Job::QUEUED);
  EXPECT_EQ(stored.reason(), v1::Reason::WAITING_FOR_WORKER);
  EXPECT_THAT(stored.state_message(), HasSubstr("no worker is connected"));
  EXPECT_EQ(stored.trace_id().size(), 32u);
  EXPECT_EQ(stored.spec_revision(), 1);
  EXPECT_EQ(plane.scheduler->QueuePosition(job.id()), 1);
  const auto telemetry = plane.Telemetry(job.id());
  ASSERT_EQ(telemetry.size(), 1u);
  EXPECT_EQ(telemetry[0].first_sequence(), 1);
  EXPECT_EQ(telemetry[0].attempt(), 0);
  EXPECT_EQ(telemetry[0].event().state_change().to(), v1::Job::QUEUED);
}

TEST(SchedulerSubmit, SubmitAndAssignmentShareOneCommit) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const int before = plane.store.commits();
  const v1::Job job = plane.Submit();
  EXPECT_EQ(plane.store.commits(), before + 1);
  EXPECT_EQ(plane.StateOf(job.id()), v1::Job::STARTING);
  EXPECT_THAT(plane.last.touched_workers, testing::ElementsAre("ws-1"));
  EXPECT_THAT(plane.last.jobs, testing::SizeIs(1));
}

TEST(SchedulerSubmit, TheSameRequestIsTheSameJobEvenWithinOneBatch) {
  ControlPlane plane;
  const v1::JobSpec spec = SyntheticSpec();
  const v1::JobSpec resolved = spec::ResolveDefaults(spec);
  auto first = plane.scheduler->Submit(spec, resolved, "default", "r1", plane.now, plane.changes);
  auto second = plane.scheduler->Submit(spec, resolved, "default", "r1", plane.now, plane.changes);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->id(), second->id());
  plane.Commit();
  EXPECT_EQ(plane.last.jobs.size(), 1u);
  EXPECT_EQ(plane.last.idempotency.size(), 1u);
  EXPECT_EQ(plane.last.idempotency[0].job_ids, std::vector<std::string>{first->id()});

  // Another tenant's request ids are its own.
  auto other = plane.scheduler->Submit(spec, resolved, "other", "r1", plane.now, plane.changes);
  ASSERT_TRUE(other.ok());
  EXPECT_NE(other->id(), first->id());
}

TEST(SchedulerSubmit, TheSameIdForAnotherRequestIsRefused) {
  ControlPlane plane;
  plane.Submit(SyntheticSpec(), "r1");
  v1::JobSpec changed = SyntheticSpec();
  changed.set_priority(3);
  auto refused =
      plane.scheduler->Submit(changed, spec::ResolveDefaults(changed), "default", "r1", plane.now, plane.changes);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReasonOf(refused.status()), kRequestIdReused);
  EXPECT_FALSE(plane.changes.NeedsCommit());
}

TEST(SchedulerSubmit, ABatchIsOneRequest) {
  ControlPlane plane;
  const v1::JobSpec spec = SyntheticSpec();
  const Scheduler::Submission good = Scheduler::Prepare(spec, spec::ResolveDefaults(spec));
  auto jobs =
      plane.scheduler->SubmitBatch({good, std::nullopt, good}, "default", "r1", "text", plane.now, plane.changes);
  ASSERT_TRUE(jobs.ok());
  ASSERT_EQ(jobs->size(), 3u);
  EXPECT_EQ((*jobs)[1].head, nullptr);
  EXPECT_TRUE(jobs->front().is_new);
  auto again =
      plane.scheduler->SubmitBatch({good, std::nullopt, good}, "default", "r1", "text", plane.now, plane.changes);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->front().head, jobs->front().head) << "the same jobs";
  EXPECT_EQ((*again)[1].head, nullptr);
  EXPECT_EQ(again->back().head, jobs->back().head);
  EXPECT_FALSE(again->front().is_new);
  plane.Commit();
  EXPECT_EQ(plane.last.jobs.size(), 2u);
}

TEST(SchedulerSubmit, AFullQueueRefusesAllOfABatch) {
  SchedulerOptions options;
  options.max_queued_jobs = 2;
  ControlPlane plane(options);
  plane.Submit();
  const v1::JobSpec spec = SyntheticSpec();
  const Scheduler::Submission good = Scheduler::Prepare(spec, spec::ResolveDefaults(spec));
  auto jobs = plane.scheduler->SubmitBatch({good, good}, "default", "", "", plane.now, plane.changes);
  EXPECT_EQ(jobs.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(jobs.status()), kQueueFull);
  EXPECT_FALSE(plane.changes.NeedsCommit());
  plane.Submit();
}

TEST(SchedulerSubmit, ATenantThatHasFilledItsShareOfTheQueueLeavesRoomForOthers) {
  SchedulerOptions options;
  options.max_queued_jobs_per_tenant = 2;
  ControlPlane plane(options);
  const v1::JobSpec spec = SyntheticSpec();
  const Scheduler::Submission good = Scheduler::Prepare(spec, spec::ResolveDefaults(spec));
  const auto submit = [&plane, &good](const std::string& tenant) {
    return plane.scheduler->SubmitBatch({good}, tenant, "", "", plane.now, plane.changes);
  };
  const auto first = submit("greedy");
  ASSERT_TRUE(first.ok());
  const std::string first_id = first->front().head->id();
  EXPECT_TRUE(submit("greedy").ok());
  plane.Commit();
  const auto refused = submit("greedy");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReasonOf(refused.status()), kTenantQueueFull);
  EXPECT_FALSE(plane.changes.NeedsCommit());
  EXPECT_TRUE(submit("modest").ok());
  EXPECT_TRUE(plane.scheduler->Cancel(first_id, "", plane.now, plane.changes).ok());
  EXPECT_TRUE(submit("greedy").ok()) << "what has left the queue makes room";
}

TEST(SchedulerSubmit, HigherPriorityGoesFirstThenOlder) {
  ControlPlane plane;
  v1::JobSpec urgent = SyntheticSpec();
  urgent.set_priority(10);
  const std::string old = plane.Submit().id();
  const std::string young = plane.Submit().id();
  const std::string first = plane.Submit(urgent).id();
  EXPECT_EQ(plane.scheduler->QueuePosition(first), 1);
  EXPECT_EQ(plane.scheduler->QueuePosition(young), 3);
  FakeWorker worker(plane, "ws-1");
  worker.RunFirst();
  EXPECT_EQ(plane.StateOf(first), v1::Job::RUNNING);
  ASSERT_TRUE(worker.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_EQ(plane.StateOf(old), v1::Job::STARTING);
  EXPECT_EQ(plane.StateOf(young), v1::Job::QUEUED);
}

TEST(SchedulerSubmit, WaitingJobsLearnWhatIsMissingWhenAWorkerComes) {
  ControlPlane plane;
  v1::JobSpec spec = SyntheticSpec();
  (*spec.mutable_resources()->mutable_worker_selector())["zone"] = "a";
  const std::string id = plane.Submit(spec).id();
  const std::string etag = plane.Job(id).etag();
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.Job(id).state_message(), "needs label zone=a (ws-1 has no zone)");
  // A sentence is no change of the job.
  EXPECT_EQ(plane.Job(id).etag(), etag);
  (*worker.request().mutable_labels())["zone"] = "a";
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.StateOf(id), v1::Job::STARTING);
}

TEST(SchedulerSubmit, DecorateShowsWhatIsNewerThanTheStore) {
  ControlPlane plane;
  plane.Submit();
  const std::string id = plane.Submit().id();
  v1::Job job = plane.Job(id);
  plane.scheduler->Decorate(job, plane.now);
  EXPECT_EQ(job.queue_position(), 2);
  job.set_etag("another");
  job.set_queue_position(0);
  plane.scheduler->Decorate(job, plane.now);
  EXPECT_EQ(job.queue_position(), 0);
}

TEST(SchedulerCancel, AQueuedJobIsCancelledAtOnce) {
  ControlPlane plane;
  const std::string id = plane.Submit().id();
  ASSERT_TRUE(plane.Cancel(id).ok());
  EXPECT_EQ(plane.StateOf(id), v1::Job::CANCELLED);
  EXPECT_TRUE(plane.Job(id).has_end_time());
  EXPECT_EQ(plane.scheduler->QueuePosition(id), 0);
  EXPECT_EQ(plane.Cancel(id).code(), absl::StatusCode::kNotFound);
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_TRUE(worker.held.empty());
}

TEST(SchedulerCancel, EtagMustMatchWhenGiven) {
  ControlPlane plane;
  const std::string id = plane.Submit().id();
  auto refused = plane.scheduler->Cancel(id, "0", plane.now, plane.changes);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(refused.status()), kEtagMismatch);
  EXPECT_TRUE(plane.scheduler->Cancel(id, plane.Job(id).etag(), plane.now, plane.changes).ok());
}

TEST(SchedulerCancel, ARunningJobWindsDownThroughItsWorker) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  worker.RunFirst();
  const int64_t revision = plane.scheduler->DesiredRevision("ws-1");
  ASSERT_TRUE(plane.Cancel(id).ok());
  EXPECT_EQ(plane.StateOf(id), v1::Job::CANCELLING);
  EXPECT_GT(plane.scheduler->DesiredRevision("ws-1"), revision);
  ASSERT_TRUE(plane.Cancel(id).ok()) << "twice changes nothing";
  worker.Read();
  EXPECT_EQ(worker.answer().attempts(0).goal(), v1::DesiredAttempt::CANCEL);
  ASSERT_TRUE(worker.End(v1::Attempt::CANCELLED).ok());
  EXPECT_EQ(plane.StateOf(id), v1::Job::CANCELLED);
  EXPECT_EQ(plane.Attempt(id, 1).state(), v1::Attempt::CANCELLED);
  EXPECT_EQ(worker.answer().attempts(0).goal(), v1::DesiredAttempt::FORGET);
}

TEST(SchedulerCancel, ACancelWinsOverWhateverTheAttemptCameTo) {
  for (auto end : {v1::Attempt::SUCCEEDED, v1::Attempt::FAILED}) {
    ControlPlane plane;
    FakeWorker worker(plane, "ws-1");
    ASSERT_TRUE(worker.Sync().ok());
    const std::string id = plane.Submit().id();
    worker.RunFirst();
    ASSERT_TRUE(plane.Cancel(id).ok());
    ASSERT_TRUE(worker.End(end, v1::Reason::CRASHED).ok());
    EXPECT_EQ(plane.StateOf(id), v1::Job::CANCELLED);
    EXPECT_EQ(plane.Attempt(id, 1).state(), end);
  }
}

TEST(SchedulerCancel, AnAssignmentThatWasNeverTakenIsCancelledByTheNextReport) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  ASSERT_TRUE(plane.Cancel(id).ok());
  worker.Read();
  EXPECT_TRUE(worker.held.empty());
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.StateOf(id), v1::Job::CANCELLED);
}

TEST(SchedulerCancel, ManyAreCancelledEachInTheWayOfItsState) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string running = plane.Submit().id();
  worker.RunFirst();
  const std::string queued = plane.Submit().id();
  const std::string other = plane.Submit().id();
  const int64_t revision = plane.scheduler->DesiredRevision("ws-1");
  const std::set<v1::Job::State> all = {v1::Job::QUEUED, v1::Job::STARTING, v1::Job::RUNNING};
  EXPECT_THAT(plane.CancelThose({queued, "gone", running, queued}, all), testing::ElementsAre(queued, running))
      << "in the order given, each once, without what has ended";
  EXPECT_EQ(plane.StateOf(queued), v1::Job::CANCELLED);
  EXPECT_EQ(plane.StateOf(running), v1::Job::CANCELLING);
  EXPECT_EQ(plane.StateOf(other), v1::Job::QUEUED);
  EXPECT_GT(plane.scheduler->DesiredRevision("ws-1"), revision);
  EXPECT_THAT(plane.CancelThose({queued, running}, {v1::Job::CANCELLING, v1::Job::CANCELLED}), testing::IsEmpty());
  EXPECT_EQ(plane.Cancel(queued).code(), absl::StatusCode::kNotFound) << "it is swept";
}

TEST(SchedulerCancel, WhatHasMovedOnSinceItWasListedIsLeftAlone) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  worker.RunFirst();
  EXPECT_THAT(plane.CancelThose({id}, {v1::Job::QUEUED, v1::Job::STARTING}), testing::IsEmpty());
  EXPECT_EQ(plane.StateOf(id), v1::Job::RUNNING);
}

TEST(SchedulerCancel, ValidateOnlySaysWhomAndChangesNothing) {
  ControlPlane plane;
  const std::string id = plane.Submit().id();
  EXPECT_THAT(plane.scheduler->CancelThose({id}, {v1::Job::QUEUED}, true, plane.now, plane.changes),
              testing::ElementsAre(id));
  EXPECT_FALSE(plane.changes.NeedsCommit());
  EXPECT_EQ(plane.StateOf(id), v1::Job::QUEUED);
  EXPECT_EQ(plane.scheduler->QueuePosition(id), 1);
}

TEST(SchedulerSubmit, AJobIsPartOfItsCallersTraceOrBeginsOne) {
  ControlPlane plane;
  const v1::JobSpec spec = SyntheticSpec();
  std::vector<std::optional<Scheduler::Submission>> submissions(2);
  submissions[0].emplace(Scheduler::Prepare(spec, spec::ResolveDefaults(spec), std::nullopt, "of the caller"));
  submissions[1].emplace(Scheduler::Prepare(spec, spec::ResolveDefaults(spec)));
  auto jobs = plane.scheduler->SubmitBatch(std::move(submissions), "default", "", "", plane.now, plane.changes);
  ASSERT_TRUE(jobs.ok());
  EXPECT_EQ((*jobs)[0].head->trace_id(), "of the caller");
  EXPECT_EQ((*jobs)[1].head->trace_id().size(), 32u);
}

}  // namespace
}  // namespace mantissa::server
