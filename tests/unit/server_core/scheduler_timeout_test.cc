// Limits of time: queue, start, stall, attempt, total.
#include "control_plane.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

class SchedulerTimeout : public testing::Test {
 protected:
  SchedulerTimeout() : worker_(plane_, "ws-1"), spec_(SyntheticSpec()) {}

  void Connect() { ASSERT_TRUE(worker_.Sync().ok()); }
  // As a live worker does, every second.
  void PassReporting(int secs) {
    for (int i = 0; i < secs; ++i) {
      plane_.Pass(seconds(1));
      ASSERT_TRUE(worker_.Sync().ok());
    }
  }

  ControlPlane plane_;
  FakeWorker worker_;
  v1::JobSpec spec_;
};

TEST_F(SchedulerTimeout, QueueTimeIsSummedOverAllWaits) {
  spec_.mutable_timeouts()->mutable_queue()->set_seconds(10);
  const std::string id = plane_.Submit(spec_).id();
  plane_.Pass(seconds(6));
  Connect();
  worker_.RunFirst();
  plane_.Pass(seconds(5));
  worker_.held.clear();
  Connect();
  ASSERT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
  worker_.request().set_draining(true);
  Connect();
  plane_.Restart();
  plane_.Pass(milliseconds(3'999));
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
  plane_.Pass(milliseconds(1));
  EXPECT_EQ(plane_.StateOf(id), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(id).reason(), v1::Reason::DEADLINE);
  EXPECT_THAT(plane_.Job(id).state_message(), HasSubstr("timeouts.queue"));
}

TEST_F(SchedulerTimeout, AServerThatDiesForgetsNoMoreThanATwentiethOfTheLimit) {
  spec_.mutable_timeouts()->mutable_queue()->set_seconds(100);
  const std::string id = plane_.Submit(spec_).id();
  const std::string unlimited = plane_.Submit().id();
  const std::string etag = plane_.Job(id).etag();
  const int commits = plane_.store.commits();
  for (int i = 0; i < 94; ++i) plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.store.commits() - commits, 18) << "one every five seconds, and none for whom it does not matter";
  EXPECT_EQ(plane_.Job(id).etag(), etag);
  plane_.Restart();
  plane_.Pass(seconds(9));
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
  plane_.Pass(seconds(2));
  EXPECT_EQ(plane_.StateOf(id), v1::Job::FAILED);
  EXPECT_EQ(plane_.StateOf(unlimited), v1::Job::QUEUED);
}

TEST_F(SchedulerTimeout, TotalTimeEndsAJobInEveryState) {
  spec_.mutable_timeouts()->mutable_total()->set_seconds(10);
  const std::string queued = plane_.Submit(spec_).id();
  plane_.Pass(milliseconds(9'999));
  EXPECT_EQ(plane_.StateOf(queued), v1::Job::QUEUED);
  plane_.Pass(milliseconds(1));
  EXPECT_EQ(plane_.StateOf(queued), v1::Job::FAILED);
  EXPECT_THAT(plane_.Job(queued).state_message(), HasSubstr("timeouts.total"));

  const std::string running = plane_.Submit(spec_).id();
  Connect();
  worker_.RunFirst();
  PassReporting(9);
  EXPECT_EQ(plane_.StateOf(running), v1::Job::RUNNING);
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.StateOf(running), v1::Job::FAILED);
  EXPECT_EQ(plane_.Job(running).reason(), v1::Reason::DEADLINE);
  EXPECT_EQ(plane_.Attempt(running, 1).state(), v1::Attempt::FAILED);
  worker_.Read();
  EXPECT_TRUE(worker_.held.empty()) << "what is not named is stopped";
}

TEST_F(SchedulerTimeout, AnAttemptTimeoutIsFinal) {
  spec_.mutable_timeouts()->mutable_attempt()->set_seconds(5);
  const std::string id = plane_.Submit(spec_).id();
  Connect();
  worker_.RunFirst();
  PassReporting(4);
  EXPECT_EQ(plane_.StateOf(id), v1::Job::RUNNING);
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.StateOf(id), v1::Job::FAILED);
  EXPECT_THAT(plane_.Job(id).state_message(), HasSubstr("timeouts.attempt"));
}

TEST_F(SchedulerTimeout, AnAttemptThatNeverStartsIsTriedAgain) {
  spec_.mutable_timeouts()->mutable_start()->set_seconds(5);
  const std::string id = plane_.Submit(spec_).id();
  Connect();
  ASSERT_EQ(worker_.held.size(), 1u);
  PassReporting(4);
  EXPECT_EQ(plane_.StateOf(id), v1::Job::STARTING);
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::START_TIMEOUT);
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
}

TEST_F(SchedulerTimeout, AnAssignmentThatIsNeverReadTimesOut) {
  spec_.mutable_timeouts()->mutable_start()->set_seconds(5);
  Connect();
  const std::string id = plane_.Submit(spec_).id();
  for (int i = 0; i < 5; ++i) {
    worker_.request().set_report_number(worker_.request().report_number() + 1);
    ASSERT_TRUE(worker_.Send().ok());
    plane_.Pass(seconds(1));
  }
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::START_TIMEOUT);

  // It may still be reading the answer with the assignment: its device is free when it has read a later one.
  const std::string next = plane_.Submit().id();
  worker_.request().set_report_number(50);
  ASSERT_TRUE(worker_.Send().ok());
  EXPECT_EQ(plane_.StateOf(next), v1::Job::QUEUED);
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_TRUE(worker_.Sync().ok());
  EXPECT_EQ(plane_.StateOf(next), v1::Job::STARTING);
}

TEST_F(SchedulerTimeout, AStalledTrainerIsFoundAlthoughItsAgentReports) {
  spec_.mutable_timeouts()->mutable_stall()->set_seconds(5);
  const std::string id = plane_.Submit(spec_).id();
  Connect();
  const v1::AttemptRef ref = worker_.RunFirst();
  PassReporting(4);
  ASSERT_TRUE(plane_.Append(ref, {Records(1, 1, 1)}).ok());
  PassReporting(4);
  worker_.held[0].set_iteration(2);
  ASSERT_TRUE(worker_.Sync().ok());
  PassReporting(4);
  EXPECT_EQ(plane_.StateOf(id), v1::Job::RUNNING);
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::STALLED);
  EXPECT_EQ(plane_.Attempt(id, 1).state(), v1::Attempt::FAILED);
  EXPECT_EQ(plane_.StateOf(id), v1::Job::QUEUED);
}

TEST_F(SchedulerTimeout, ReportsWithoutANewIterationAreNoProgress) {
  spec_.mutable_timeouts()->mutable_stall()->set_seconds(5);
  const std::string id = plane_.Submit(spec_).id();
  Connect();
  worker_.RunFirst();
  worker_.held[0].set_iteration(7);
  ASSERT_TRUE(worker_.Sync().ok());
  PassReporting(4);
  plane_.Pass(seconds(1));
  EXPECT_EQ(plane_.Attempt(id, 1).reason(), v1::Reason::STALLED);
}

TEST_F(SchedulerTimeout, ACancelIsNotOvertakenByALimit) {
  spec_.mutable_timeouts()->mutable_attempt()->set_seconds(5);
  spec_.mutable_timeouts()->mutable_total()->set_seconds(5);
  const std::string id = plane_.Submit(spec_).id();
  Connect();
  worker_.RunFirst();
  ASSERT_TRUE(plane_.Cancel(id).ok());
  PassReporting(10);
  EXPECT_EQ(plane_.StateOf(id), v1::Job::CANCELLING);
}

TEST_F(SchedulerTimeout, NothingToDoMeansNoDeadline) {
  EXPECT_EQ(plane_.scheduler->NextDeadline(), std::chrono::steady_clock::time_point::max());
  const std::string id = plane_.Submit(spec_).id();
  EXPECT_EQ(plane_.scheduler->NextDeadline(), std::chrono::steady_clock::time_point::max());
  ASSERT_TRUE(plane_.Cancel(id).ok());
  EXPECT_EQ(plane_.scheduler->NextDeadline(), std::chrono::steady_clock::time_point::max());
}

}  // namespace
}  // namespace mantissa::server
