// Report numbers, sessions, revisions: what a report that says less than before means.
#include "control_plane.h"

namespace mantissa::server {
namespace {

TEST(SchedulerSession, LowerReportNumbersAreSuperseded) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_TRUE(worker.Sync().ok());
  worker.request().set_report_number(1);
  absl::Status status = worker.Send();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(status), kSuperseded);
  worker.request().set_report_number(2);
  EXPECT_TRUE(worker.Send().ok()) << "the same number is the same message once more";
}

TEST(SchedulerSession, AnOlderSessionIsSuperseded) {
  ControlPlane plane;
  FakeWorker older(plane, "ws-1"), newer(plane, "ws-1");
  newer.request().set_session_id("another");
  ASSERT_TRUE(older.Sync().ok());
  ASSERT_TRUE(newer.Sync().ok());
  absl::Status status = older.Sync();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(status), kSuperseded);
  EXPECT_TRUE(newer.Sync().ok());
}

TEST(SchedulerSession, ANewSessionLosesWhatItDoesNotReportAtOnce) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  worker.RunFirst();
  worker.RestartAgent();
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.Attempt(id, 1).state(), v1::Attempt::LOST);
  EXPECT_EQ(plane.Attempt(id, 1).reason(), v1::Reason::NODE_LOST);
  EXPECT_EQ(plane.StateOf(id), v1::Job::QUEUED);
  EXPECT_EQ(plane.Job(id).reason(), v1::Reason::BACKOFF);
}

TEST(SchedulerSession, ANewSessionLosesAnAssignmentItNeverRead) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  worker.RestartAgent();
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.Attempt(id, 1).state(), v1::Attempt::LOST);
}

TEST(SchedulerSession, AnAssignmentIsSentAgainUntilItIsRead) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  for (int lost_replies = 0; lost_replies < 3; ++lost_replies) {
    worker.request().set_report_number(worker.request().report_number() + 1);
    ASSERT_TRUE(worker.Send().ok());
    EXPECT_EQ(plane.StateOf(id), v1::Job::STARTING);
  }
  worker.Read();
  ASSERT_EQ(worker.answer().attempts_size(), 1);
  const v1::DesiredAttempt& desired = worker.answer().attempts(0);
  EXPECT_EQ(desired.goal(), v1::DesiredAttempt::RUN);
  EXPECT_TRUE(desired.assignment().spec().training().has_batch_size()) << "the resolved spec travels";
  EXPECT_EQ(desired.assignment().placement().token(), desired.ref().token());
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_FALSE(worker.answer().attempts(0).has_assignment()) << "it has reported it";
}

TEST(SchedulerSession, AnAssignmentThatWasReadAndIsNotThereIsLost) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  worker.Read();
  worker.held.clear();
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.Attempt(id, 1).state(), v1::Attempt::LOST);
  EXPECT_EQ(plane.Attempt(id, 1).reason(), v1::Reason::TRAINER_LOST);
}

TEST(SchedulerSession, AnAttemptThatVanishesFromReportsIsLost) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  worker.RunFirst();
  worker.held.clear();
  worker.request().set_applied_revision(0);
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.Attempt(id, 1).state(), v1::Attempt::LOST);
}

TEST(SchedulerSession, RevisionsGrowWithChangesAndOnlyWithThem) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const int64_t idle = plane.scheduler->DesiredRevision("ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.scheduler->DesiredRevision("ws-1"), idle);
  EXPECT_TRUE(plane.last.touched_workers.empty());
  plane.Submit();
  const int64_t assigned = plane.scheduler->DesiredRevision("ws-1");
  EXPECT_GT(assigned, idle);
  worker.RunFirst();
  EXPECT_EQ(plane.scheduler->DesiredRevision("ws-1"), assigned) << "doing as told is no news";
  plane.Restart();
  EXPECT_GT(plane.scheduler->DesiredRevision("ws-1"), assigned) << "a later server's revisions are higher";
}

TEST(SchedulerSession, AStrangersAttemptIsAnsweredAtOnceAndOnce) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  v1::AttemptReport stranger;
  stranger.mutable_ref()->set_job_id("nobody");
  stranger.mutable_ref()->set_attempt(3);
  stranger.set_state(v1::Attempt::RUNNING);
  worker.held = {stranger};
  const int64_t before = plane.scheduler->DesiredRevision("ws-1");
  worker.request().set_report_number(10);
  ASSERT_TRUE(worker.Send().ok());
  const int64_t after = plane.scheduler->DesiredRevision("ws-1");
  EXPECT_GT(after, before);
  worker.request().set_report_number(11);
  ASSERT_TRUE(worker.Send().ok());
  EXPECT_EQ(plane.scheduler->DesiredRevision("ws-1"), after);
  worker.Read();
  EXPECT_TRUE(worker.held.empty()) << "what is not named is to be stopped";
}

TEST(SchedulerSession, ARunningAttemptGoesOnOverARestartOfTheServer) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  const v1::AttemptRef ref = worker.RunFirst();
  ASSERT_TRUE(plane.Append(ref, {Records(1, 1, 5)}).ok());
  plane.Restart();
  EXPECT_EQ(plane.Append(ref, {}).value(), 5) << "the high-water mark survives";
  ASSERT_TRUE(worker.Sync().ok());
  ASSERT_EQ(worker.answer().attempts_size(), 1);
  EXPECT_EQ(worker.answer().attempts(0).goal(), v1::DesiredAttempt::RUN);
  EXPECT_FALSE(worker.answer().attempts(0).has_assignment());
  EXPECT_EQ(plane.Append(ref, {Records(6, 6, 5)}).value(), 10);
  ASSERT_TRUE(worker.End(v1::Attempt::SUCCEEDED, v1::Reason::REASON_UNSPECIFIED, 10).ok());
  EXPECT_EQ(plane.StateOf(id), v1::Job::SUCCEEDED);
  EXPECT_EQ(plane.Job(id).attempt(), 1);
}

TEST(SchedulerSession, TheNextServerKnowsWhatMemoryIsPromised) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1", {CpuDevice("cpu-0"), CpuDevice("cpu-1")});
  ASSERT_TRUE(worker.Sync().ok());
  v1::JobSpec spec = SyntheticSpec();
  spec.mutable_resources()->set_memory_bytes(int64_t{6} << 30);  // of 8 GiB
  plane.Submit(spec);
  worker.RunFirst();
  plane.Restart();
  ASSERT_TRUE(worker.Sync().ok());
  const std::string second = plane.Submit(spec).id();
  EXPECT_EQ(plane.StateOf(second), v1::Job::QUEUED) << "a device is free, but not the memory";
  ASSERT_TRUE(worker.End(v1::Attempt::SUCCEEDED).ok());
  EXPECT_EQ(plane.StateOf(second), v1::Job::STARTING);
}

TEST(SchedulerSession, AnUnreadAssignmentIsSentAgainByTheNextServer) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  plane.Restart();
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(worker.held.size(), 1u);
  EXPECT_EQ(plane.StateOf(id), v1::Job::STARTING);
}

TEST(SchedulerSession, ARunningAttemptThatTheNextServerDoesNotHearOfIsLost) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  const std::string id = plane.Submit().id();
  worker.RunFirst();
  plane.Restart();
  worker.RestartAgent();
  ASSERT_TRUE(worker.Sync().ok());
  EXPECT_EQ(plane.Attempt(id, 1).state(), v1::Attempt::LOST);
}

TEST(SchedulerSession, HostileReportsAreRefused) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  auto refused = [&](auto change) {
    FakeWorker bad(plane, "ws-1");
    bad.request().set_report_number(1);
    change(bad.request());
    return plane.scheduler->Report(bad.request(), plane.now, plane.changes).code() ==
           absl::StatusCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](auto& r) { r.set_worker_id(""); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_worker_id("../../etc"); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_worker_id(std::string(64, 'a')); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_session_id(""); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_session_id(std::string(65, 'a')); }));
  EXPECT_TRUE(refused([](auto& r) { r.set_report_number(0); }));
  EXPECT_TRUE(refused([](auto& r) { *r.add_devices() = r.devices(0); }));
  EXPECT_TRUE(refused([](auto& r) { r.mutable_devices(0)->clear_id(); }));
  EXPECT_TRUE(refused([](auto& r) {
    for (int i = 0; i < 2000; ++i) r.add_attempts();
  }));
  EXPECT_TRUE(plane.scheduler->Workers(plane.now).empty());
}

TEST(SchedulerSession, WorkersAreCountedByWhatCanBeHadOfThem) {
  ControlPlane plane;
  const auto counts = [&plane] {
    const FleetSummary fleet = plane.scheduler->Fleet(plane.now);
    return std::vector<int64_t>{fleet.connected, fleet.draining, fleet.disconnected};
  };
  EXPECT_EQ(plane.scheduler->Fleet(plane.now).oldest_report, std::nullopt);
  FakeWorker first(plane, "ws-1"), second(plane, "ws-2");
  ASSERT_TRUE(first.Sync().ok());
  const auto silent_since = plane.now.steady;
  plane.Pass(seconds(10));
  ASSERT_TRUE(second.Sync().ok());
  EXPECT_EQ(counts(), (std::vector<int64_t>{2, 0, 0}));
  EXPECT_EQ(plane.scheduler->Fleet(plane.now).oldest_report, silent_since);
  ASSERT_TRUE(plane.Drain("ws-2").ok());
  EXPECT_EQ(counts(), (std::vector<int64_t>{1, 1, 0}));
  plane.Pass(seconds(20));
  EXPECT_EQ(counts(), (std::vector<int64_t>{0, 1, 1}));
  ASSERT_TRUE(first.Sync().ok());
  EXPECT_EQ(counts(), (std::vector<int64_t>{1, 1, 0}));
  EXPECT_EQ(plane.scheduler->Fleet(plane.now).oldest_report, plane.now.steady - seconds(20));
}

}  // namespace
}  // namespace mantissa::server
