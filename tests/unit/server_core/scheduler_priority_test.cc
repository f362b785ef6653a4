// Who goes first, who is kept room for, and who has to leave.
#include "control_plane.h"

namespace mantissa::server {
namespace {

v1::JobSpec Spec(int32_t priority, int64_t memory_bytes = 0) {
  v1::JobSpec spec = SyntheticSpec();
  spec.set_priority(priority);
  spec.mutable_resources()->set_memory_bytes(memory_bytes);
  return spec;
}

constexpr int64_t kGiB = int64_t{1} << 30;

TEST(SchedulerPriority, APointOfPriorityOutweighsTenMinutesOfWaiting) {
  ControlPlane plane;
  const std::string old = plane.Submit(Spec(0)).id();
  plane.Pass(seconds(599));
  const std::string soon = plane.Submit(Spec(1)).id();
  EXPECT_EQ(plane.scheduler->QueuePosition(soon), 1);
  plane.Pass(seconds(2));
  const std::string late = plane.Submit(Spec(1)).id();
  EXPECT_EQ(plane.scheduler->QueuePosition(old), 2) << "nothing starves, whatever comes after it";
  EXPECT_EQ(plane.scheduler->QueuePosition(late), 3);
  plane.Restart();
  EXPECT_EQ(plane.scheduler->QueuePosition(old), 2) << "the order outlives the server";
}

class SchedulerReservation : public testing::Test {
 protected:
  // A worker with two devices and 8 GiB, all the time busy with small jobs, and one job that needs nearly all of it.
  SchedulerReservation() : worker_(plane_, "ws-1", {CpuDevice("cpu-0"), CpuDevice("cpu-1")}) {
    EXPECT_TRUE(worker_.Sync().ok());
    for (int i = 0; i < 2; ++i) small_.push_back(plane_.Submit(Spec(0, 3 * kGiB)).id());
    RunAll();
    large_ = plane_.Submit(Spec(0, 7 * kGiB)).id();
  }

  void RunAll() {
    EXPECT_TRUE(worker_.Sync().ok());
    for (v1::AttemptReport& report : worker_.held) report.set_state(v1::Attempt::RUNNING);
    EXPECT_TRUE(worker_.Sync().ok());
  }

  // The first attempt that is held ends.
  void EndOne() {
    worker_.held.at(0).set_state(v1::Attempt::SUCCEEDED);
    ASSERT_TRUE(worker_.Sync().ok());
    RunAll();
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::vector<std::string> small_;
  std::string large_;
};

TEST_F(SchedulerReservation, BeforeItsTimeSmallJobsGoPastALargeOne) {
  plane_.Pass(seconds(20));
  ASSERT_TRUE(worker_.Sync().ok());
  const std::string next = plane_.Submit(Spec(0, 3 * kGiB)).id();
  EndOne();
  EXPECT_EQ(plane_.StateOf(next), v1::Job::RUNNING);
  EXPECT_EQ(plane_.StateOf(large_), v1::Job::QUEUED);
}

TEST_F(SchedulerReservation, AfterTwoMinutesTheWorkerIsKeptForIt) {
  for (int i = 0; i < 6; ++i) {
    plane_.Pass(seconds(20));
    ASSERT_TRUE(worker_.Sync().ok());
  }
  const std::string next = plane_.Submit(Spec(0, 3 * kGiB)).id();
  EndOne();
  EXPECT_EQ(plane_.StateOf(next), v1::Job::QUEUED) << "there is room, but not for it";
  EndOne();
  EXPECT_EQ(plane_.StateOf(large_), v1::Job::RUNNING);
  EXPECT_EQ(plane_.StateOf(next), v1::Job::QUEUED) << "8 GiB are 8 GiB";
  EndOne();
  EXPECT_EQ(plane_.StateOf(next), v1::Job::RUNNING) << "and nothing is kept for it any more";
}

TEST_F(SchedulerReservation, AJobThatIsSureToBeGoneByThenMayStillGoPast) {
  v1::JobSpec limited = Spec(0, 3 * kGiB);
  limited.mutable_timeouts()->mutable_attempt()->set_seconds(600);
  for (int i = 0; i < 2; ++i) {
    EndOne();
    small_.push_back(plane_.Submit(limited).id());
    RunAll();
  }
  for (int i = 0; i < 7; ++i) {
    plane_.Pass(seconds(20));
    ASSERT_TRUE(worker_.Sync().ok());
  }
  v1::JobSpec brief = limited;
  brief.mutable_timeouts()->mutable_attempt()->set_seconds(60);
  const std::string quick = plane_.Submit(brief).id(), slow = plane_.Submit(limited).id();
  EndOne();
  EXPECT_EQ(plane_.StateOf(quick), v1::Job::RUNNING);
  EXPECT_EQ(plane_.StateOf(slow), v1::Job::QUEUED);
}

class SchedulerPreemption : public testing::Test {
 protected:
  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.preempting_priority = 100;
    return options;
  }
  SchedulerPreemption() : plane_(Options()), worker_(plane_, "ws-1", {CpuDevice("cpu-0"), CpuDevice("cpu-1")}) {
    EXPECT_TRUE(worker_.Sync().ok());
  }

  std::string Run(int32_t priority) {
    const std::string id = plane_.Submit(Spec(priority)).id();
    EXPECT_TRUE(worker_.Sync().ok());
    for (v1::AttemptReport& report : worker_.held) report.set_state(v1::Attempt::RUNNING);
    EXPECT_TRUE(worker_.Sync().ok());
    return id;
  }
  bool IsToLeave(const std::string& id) {
    const v1::SynchronizeResponse desired = plane_.scheduler->DesiredState("ws-1", plane_.now);
    for (const v1::DesiredAttempt& attempt : desired.attempts()) {
      if (attempt.ref().job_id() == id) return attempt.goal() == v1::DesiredAttempt::STOP_WITH_CHECKPOINT;
    }
    return false;
  }

  ControlPlane plane_;
  FakeWorker worker_;
};

TEST_F(SchedulerPreemption, TheLeastImportantLeavesSavedAndTakesItsTurnAgain) {
  const std::string higher = Run(7), lower = Run(3);
  const std::string urgent = plane_.Submit(Spec(100)).id();
  EXPECT_TRUE(IsToLeave(lower));
  EXPECT_FALSE(IsToLeave(higher));
  for (v1::AttemptReport& report : worker_.held) {
    if (report.ref().job_id() != lower) continue;
    report.set_state(v1::Attempt::FAILED);
    report.set_reason(v1::Reason::WORKER_STOPPED);
  }
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(urgent), v1::Job::STARTING);
  EXPECT_EQ(plane_.StateOf(lower), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Attempt(lower, 1).reason(), v1::Reason::PREEMPTED);
  EXPECT_EQ(plane_.Attempt(lower, 1).state(), v1::Attempt::STOPPED);
}

TEST_F(SchedulerPreemption, OneDeviceIsMadeFreeForOneJob) {
  const std::string a = Run(0), b = Run(0);
  plane_.Submit(Spec(100));
  EXPECT_NE(IsToLeave(a), IsToLeave(b));
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Pass(seconds(1));
  EXPECT_NE(IsToLeave(a), IsToLeave(b)) << "one is on its way";
}

TEST_F(SchedulerPreemption, OfEqualsTheYoungestLeaves) {
  const std::string older = Run(0);
  plane_.Pass(seconds(1));
  const std::string younger = Run(0);
  plane_.Submit(Spec(100));
  EXPECT_TRUE(IsToLeave(younger));
  EXPECT_FALSE(IsToLeave(older));
}

TEST_F(SchedulerPreemption, NobodyLeavesForALesserJobOrForAnEqual) {
  const std::string a = Run(0), b = Run(150);
  plane_.Submit(Spec(99));
  EXPECT_FALSE(IsToLeave(a) || IsToLeave(b)) << "it is of no class that may";
  ASSERT_TRUE(plane_.Cancel(a).ok());
  worker_.held.at(0).set_state(v1::Attempt::CANCELLED);
  ASSERT_TRUE(worker_.Sync().ok());
  Run(120);
  plane_.Submit(Spec(200));
  EXPECT_FALSE(IsToLeave(b)) << "it is of the same class";
}

TEST_F(SchedulerPreemption, NobodyLeavesUnlessAnOperatorSaysSo) {
  ControlPlane plane;
  FakeWorker worker(plane, "ws-1");
  ASSERT_TRUE(worker.Sync().ok());
  plane.Submit(Spec(0));
  worker.RunFirst();
  plane.Submit(Spec(1000));
  EXPECT_EQ(plane.scheduler->DesiredState("ws-1", plane.now).attempts(0).goal(), v1::DesiredAttempt::RUN);
}

}  // namespace
}  // namespace mantissa::server
