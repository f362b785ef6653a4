// Leases: extended by reports, ended at their exact instant, one full term after a start.
#include "control_plane.h"

namespace mantissa::server {
namespace {

class SchedulerLease : public testing::Test {
 protected:
  SchedulerLease() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    ref_ = worker_.RunFirst();
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerLease, RunsOutAtItsExactInstantAndInOneCommit) {
  plane_.Pass(milliseconds(29'999));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  plane_.Pass(milliseconds(1));
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  EXPECT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::NODE_LOST);
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BACKOFF);
  EXPECT_EQ(plane_.last.attempts.size(), 1u);
  EXPECT_EQ(plane_.last.jobs.size(), 1u);
  EXPECT_EQ(plane_.last.lease_expiries, 1);
}

TEST_F(SchedulerLease, AnAttemptThatItsWorkerNoLongerHasDidNotLoseItByTime) {
  worker_.RestartAgent();
  worker_.request().set_report_number(1);
  ASSERT_TRUE(worker_.Send().ok());
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  EXPECT_EQ(plane_.last.lease_expiries, 0);
}

TEST_F(SchedulerLease, EveryReportExtendsIt) {
  for (int i = 0; i < 5; ++i) {
    plane_.Pass(milliseconds(29'999));
    ASSERT_TRUE(worker_.Sync().ok());
  }
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  plane_.Pass(milliseconds(30'000));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
}

TEST_F(SchedulerLease, AHeartbeatThatChangesNothingWritesNothing) {
  plane_.Pass(seconds(1));
  const int commits = plane_.store.commits();
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.store.commits(), commits);
}

TEST_F(SchedulerLease, PrecisionStatisticsOfAReportAreTheJobsOnceTheyAreDue) {
  v1::PrecisionStats& stats = *worker_.held.at(0).mutable_precision();
  stats.set_iterations(1000);
  stats.set_stability_score(0.998);
  stats.set_verdict(v1::PrecisionStats::STABLE);
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Pass(seconds(5));
  EXPECT_EQ(plane_.Job(job_).progress().precision().stability_score(), 0.998);
  const int commits = plane_.store.commits();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Pass(seconds(5));
  EXPECT_EQ(plane_.store.commits(), commits) << "the same once more";
  // A report without them, of an older agent, takes nothing away; the last ones come with the end.
  worker_.held.at(0).clear_precision();
  ASSERT_TRUE(worker_.Sync().ok());
  worker_.held.at(0).set_state(v1::Attempt::SUCCEEDED);
  worker_.held.at(0).mutable_precision()->set_iterations(1200);
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.Job(job_).progress().precision().iterations(), 1200);
}

TEST_F(SchedulerLease, TelemetryIsNoReport) {
  plane_.Pass(seconds(29));
  ASSERT_TRUE(plane_.Append(ref_, {Records(1, 1, 1)}).ok());
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
}

TEST_F(SchedulerLease, WallClockJumpsDoNotMatter) {
  plane_.now.wall += std::chrono::hours(2);
  plane_.Pass(milliseconds(29'999));
  plane_.now.wall -= std::chrono::hours(4);
  plane_.Pass(milliseconds(0));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
}

TEST_F(SchedulerLease, AStartGivesOneFullTerm) {
  plane_.Pass(seconds(29));
  plane_.Restart();
  plane_.Pass(milliseconds(29'999));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
  plane_.Pass(milliseconds(1));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
}

TEST_F(SchedulerLease, TheZombieIsTurnedAwayAndItsDeviceStaysTakenUntilItIsGone) {
  FakeWorker other(plane_, "ws-2");
  plane_.Pass(seconds(30));
  ASSERT_TRUE(other.Sync().ok());
  plane_.PassUntilPlaced(job_);
  const std::string next = plane_.Submit().id();
  // It wakes, and still holds what it held.
  worker_.request().set_report_number(50);
  ASSERT_TRUE(worker_.Send().ok());
  EXPECT_EQ(plane_.StateOf(next), v1::Job::QUEUED) << "its trainer still has the device";
  EXPECT_EQ(ReasonOf(plane_.Append(ref_, {Records(1, 1, 1)}).status()), kLeaseLost);
  worker_.Read();
  EXPECT_TRUE(worker_.held.empty());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(next), v1::Job::STARTING);
  EXPECT_EQ(plane_.Job(job_).attempt(), 2);
}

TEST_F(SchedulerLease, AnotherWorkerTakesOverAfterTheBackOff) {
  FakeWorker other(plane_, "ws-2");
  plane_.Pass(seconds(29));
  ASSERT_TRUE(other.Sync().ok());
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BACKOFF);
  plane_.PassToNextDeadline();
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::STARTING);
  const v1::AttemptRef second = other.RunFirst();
  EXPECT_EQ(second.attempt(), 2);
  EXPECT_NE(second.token(), ref_.token());
}

TEST_F(SchedulerLease, ACancelEndsWithTheLease) {
  ASSERT_TRUE(plane_.Cancel(job_).ok());
  plane_.Pass(seconds(30));
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::CANCELLED);
  EXPECT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
}

TEST_F(SchedulerLease, RetriesEndWithTheBudget) {
  for (int attempt = 1; attempt <= 4; ++attempt) {
    EXPECT_EQ(plane_.StateOf(job_), v1::Job::RUNNING);
    worker_.held.clear();
    ASSERT_TRUE(worker_.Sync().ok());
    EXPECT_EQ(plane_.Attempt(job_, attempt).state(), v1::Attempt::LOST);
    if (attempt == 4) break;
    EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::BACKOFF);
    // The count is the store's, not this process's.
    plane_.Restart();
    ASSERT_TRUE(worker_.Sync().ok());
    plane_.PassUntilPlaced(job_);
    worker_.RunFirst();
  }
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(job_).reason(), v1::Reason::RETRIES_EXHAUSTED);
  EXPECT_THAT(plane_.Job(job_).state_message(), testing::HasSubstr("TRAINER_LOST"));
  EXPECT_EQ(plane_.Attempt(job_, 4).reason(), v1::Reason::TRAINER_LOST) << "the attempt keeps its own reason";
}

TEST_F(SchedulerLease, ASilentWorkerGetsNoNewWork) {
  FakeWorker silent(plane_, "ws-2");
  ASSERT_TRUE(silent.Sync().ok());
  plane_.Pass(milliseconds(14'999));
  plane_.Pass(milliseconds(1));
  ASSERT_TRUE(worker_.Sync().ok());
  const std::string id = plane_.Submit().id();
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
  ASSERT_TRUE(silent.Sync().ok());
  EXPECT_EQ(plane_.StateOf(id), v1::Job::STARTING);
}

TEST_F(SchedulerLease, WorkersAreListedConnectedWhileTheyAreHeardOf) {
  auto workers = plane_.scheduler->Workers(plane_.now);
  ASSERT_EQ(workers.size(), 1u);
  EXPECT_TRUE(workers[0].connected());
  ASSERT_EQ(workers[0].attempts_size(), 1);
  EXPECT_TRUE(workers[0].attempts(0).token().empty()) << "tokens are never shown";
  plane_.Pass(seconds(30));
  workers = plane_.scheduler->Workers(plane_.now);
  EXPECT_FALSE(workers[0].connected());
  plane_.Pass(seconds(600));
  EXPECT_TRUE(plane_.scheduler->Workers(plane_.now).empty());
}

}  // namespace
}  // namespace mantissa::server
