// What a dead attempt had not delivered is a gap, whose end nobody knows; what may still come is none.
#include "control_plane.h"

namespace mantissa::server {
namespace {

class SchedulerLostTail : public testing::Test {
 protected:
  SchedulerLostTail() : worker_(plane_, "ws-1") {
    EXPECT_TRUE(worker_.Sync().ok());
    job_ = plane_.Submit().id();
    ref_ = worker_.RunFirst();
    EXPECT_TRUE(plane_.Append(ref_, {Records(1, 1, 5)}).ok());
  }

  std::vector<v1::Segment> Gaps() {
    std::vector<v1::Segment> gaps = plane_.Telemetry(job_);
    std::erase_if(gaps, [](const v1::Segment& segment) { return !segment.has_gap(); });
    return gaps;
  }
  // One, of all that the first attempt had to say after its fifth entry.
  void ExpectTailLost() {
    const std::vector<v1::Segment> gaps = Gaps();
    ASSERT_EQ(gaps.size(), 1u);
    EXPECT_EQ(gaps[0].attempt(), 1);
    EXPECT_EQ(gaps[0].first_attempt_sequence(), 6);
    EXPECT_EQ(gaps[0].gap().from(), 6);
    EXPECT_EQ(gaps[0].gap().to(), 0);
    EXPECT_EQ(gaps[0].count(), 1);
  }

  ControlPlane plane_;
  FakeWorker worker_;
  std::string job_;
  v1::AttemptRef ref_;
};

TEST_F(SchedulerLostTail, OfAnAttemptThatItsWorkerNoLongerHasIsToldBeforeItsEnd) {
  worker_.held.clear();
  ASSERT_TRUE(worker_.Sync().ok());
  ExpectTailLost();
  const auto telemetry = plane_.Telemetry(job_);
  EXPECT_TRUE(telemetry[telemetry.size() - 2].has_gap());
  EXPECT_EQ(telemetry.back().event().state_change().to(), v1::Job::QUEUED);
}

TEST_F(SchedulerLostTail, OfOneThatIsOnlySilentIsToldWhenItIsTooLateToComeBack) {
  plane_.Pass(seconds(30));
  ASSERT_EQ(plane_.Attempt(job_, 1).state(), v1::Attempt::LOST);
  EXPECT_TRUE(Gaps().empty()) << "it may be on the other side of a cut network";
  FakeWorker other(plane_, "ws-2");
  ASSERT_TRUE(other.Sync().ok());
  plane_.PassUntilPlaced(job_);
  ExpectTailLost();
  EXPECT_FALSE(plane_.Append(ref_, {Records(6, 6, 1)}).ok());
  const v1::AttemptRef second = other.RunFirst();
  EXPECT_EQ(plane_.Append(second, {Records(1, 1, 2)}).value(), 2);
  EXPECT_EQ(Gaps().size(), 1u);
}

TEST_F(SchedulerLostTail, IsNoneWhenTheAttemptComesBack) {
  plane_.Pass(seconds(30));
  EXPECT_EQ(plane_.Append(ref_, {Records(6, 6, 2)}).value(), 7);
  EXPECT_TRUE(Gaps().empty());
}

TEST_F(SchedulerLostTail, IsToldOnceOverARestart) {
  worker_.held.clear();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Restart();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.PassUntilPlaced(job_);
  ExpectTailLost();
}

TEST_F(SchedulerLostTail, OfASilentOneIsToldThoughTheServerWasRestarted) {
  plane_.Pass(seconds(30));
  plane_.Restart();
  ASSERT_TRUE(plane_.Pause(job_).ok());
  ExpectTailLost();
}

TEST_F(SchedulerLostTail, OfOneThatIsCancelledWhileItMayComeBackIsTold) {
  plane_.Pass(seconds(30));
  ASSERT_TRUE(plane_.Cancel(job_).ok());
  ExpectTailLost();
}

TEST_F(SchedulerLostTail, OfOneThatWasWrittenOffDoesNotComeBackAfterARestart) {
  worker_.held.clear();
  ASSERT_TRUE(worker_.Sync().ok());
  plane_.Restart();
  EXPECT_FALSE(plane_.Append(ref_, {Records(6, 6, 1)}).ok());
  EXPECT_EQ(plane_.StateOf(job_), v1::Job::QUEUED);
}

TEST_F(SchedulerLostTail, OfOneThatStandsStillAndIsGivenUpIsTold) {
  for (int i = 0; i < 20; ++i) {
    plane_.Pass(seconds(20));
    ASSERT_TRUE(worker_.Sync().ok());
  }
  ASSERT_EQ(plane_.Attempt(job_, 1).reason(), v1::Reason::STALLED);
  ExpectTailLost();
}

TEST_F(SchedulerLostTail, IsNoneOfAnAttemptThatSaidHowMuchThereWas) {
  ASSERT_TRUE(worker_.End(v1::Attempt::FAILED, v1::Reason::OOM_KILLED, 5).ok());
  EXPECT_TRUE(Gaps().empty());
}

TEST_F(SchedulerLostTail, IsNoneOfAnAttemptThatNeverRan) {
  const std::string second = plane_.Submit().id();
  ASSERT_TRUE(worker_.End(v1::Attempt::SUCCEEDED, v1::Reason::REASON_UNSPECIFIED, 5).ok());
  ASSERT_TRUE(worker_.Sync().ok());
  ASSERT_EQ(plane_.StateOf(second), v1::Job::STARTING);
  plane_.Pass(seconds(60));
  for (const v1::Segment& segment : plane_.Telemetry(second)) EXPECT_FALSE(segment.has_gap());
  EXPECT_NE(plane_.StateOf(second), v1::Job::STARTING);
}

}  // namespace
}  // namespace mantissa::server
