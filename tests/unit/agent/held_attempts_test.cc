#include "worker/agent/held_attempts.h"

#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {
namespace {

class HeldAttemptsTest : public testing::Test {
 protected:
  HeldAttemptsTest() { held_.Add(MakeRef(), {}); }

  v1::AttemptReport Report() const { return held_.Reports().at(0); }
  static v1::AttemptEnded End(v1::Attempt::State state) {
    v1::AttemptEnded ended;
    ended.set_state(state);
    ended.set_reason(state == v1::Attempt::SUCCEEDED ? v1::Reason::COMPLETED : v1::Reason::NUMERIC_FAILURE);
    ended.set_message("said the trainer");
    return ended;
  }

  const AttemptKey key_{"job-1", 1};
  HeldAttempts held_;
  process::SteadyTime now_{std::chrono::hours(1)};
};

TEST_F(HeldAttemptsTest, SaysStartingThenRunningThenTheEnd) {
  EXPECT_EQ(Report().state(), v1::Attempt::STARTING);
  EXPECT_TRUE(held_.Started(key_));
  EXPECT_FALSE(held_.Started(key_)) << "said once";
  EXPECT_EQ(Report().state(), v1::Attempt::RUNNING);
  held_.Progressed(key_, 12, 10);
  held_.Received(key_, 15);
  EXPECT_EQ(Report().iteration(), 12);
  EXPECT_EQ(Report().step(), 10);
  EXPECT_TRUE(held_.Ended(key_, End(v1::Attempt::SUCCEEDED), {}));
  EXPECT_EQ(Report().state(), v1::Attempt::SUCCEEDED);
  EXPECT_EQ(Report().reason(), v1::Reason::COMPLETED);
  EXPECT_EQ(Report().last_attempt_sequence(), 15);
  EXPECT_FALSE(held_.AnyLive());
}

TEST_F(HeldAttemptsTest, TheInterventionOfAnEndIsTold) {
  v1::AttemptEnded ended = End(v1::Attempt::FAILED);
  ended.mutable_intervention()->set_kind(v1::Intervention::FALLBACK);
  held_.Started(key_);
  EXPECT_FALSE(Report().has_intervention());
  EXPECT_TRUE(held_.Ended(key_, ended, {}));
  EXPECT_EQ(Report().intervention().kind(), v1::Intervention::FALLBACK);
  EXPECT_EQ(Report().state(), v1::Attempt::FAILED);
}

TEST_F(HeldAttemptsTest, PrecisionStatisticsGoWithEveryReportTheEndIncluded) {
  EXPECT_FALSE(Report().has_precision());
  v1::TrainerHeartbeat heartbeat;
  heartbeat.set_iteration(12);
  heartbeat.set_step(10);
  heartbeat.mutable_precision()->set_iterations(12);
  held_.Heard(key_, heartbeat);
  heartbeat.clear_precision();
  held_.Heard(key_, heartbeat);
  EXPECT_EQ(Report().precision().iterations(), 12) << "a heartbeat without them takes nothing away";
  EXPECT_EQ(Report().iteration(), 12);
  EXPECT_EQ(Report().step(), 10);
  EXPECT_TRUE(held_.Ended(key_, End(v1::Attempt::SUCCEEDED), {}));
  EXPECT_EQ(Report().precision().iterations(), 12);
}

TEST_F(HeldAttemptsTest, AnEndComesOnce) {
  EXPECT_TRUE(held_.Ended(key_, End(v1::Attempt::SUCCEEDED), {}));
  EXPECT_FALSE(held_.Lost(key_, {v1::Reason::CRASHED, "late"}, false, {}));
  EXPECT_FALSE(held_.RequestStop(key_, StopCause::kCancel, now_));
  EXPECT_EQ(Report().state(), v1::Attempt::SUCCEEDED);
}

TEST_F(HeldAttemptsTest, TheEndIsToldOnlyAfterTheLastCommitIsAnswered) {
  held_.Started(key_);
  held_.CheckpointSaved(key_, "one");
  held_.CheckpointSaved(key_, "two");
  EXPECT_FALSE(held_.CommitAnswered(key_)) << "nothing to tell while it runs";
  EXPECT_FALSE(held_.Ended(key_, End(v1::Attempt::SUCCEEDED), {}));
  EXPECT_EQ(Report().state(), v1::Attempt::RUNNING) << "the server takes checkpoints of live attempts only";
  EXPECT_EQ(Report().last_checkpoint(), "two");
  EXPECT_TRUE(held_.CommitAnswered(key_));
  EXPECT_EQ(Report().state(), v1::Attempt::SUCCEEDED);
}

TEST_F(HeldAttemptsTest, AStopWithCheckpointIsNoCancel) {
  EXPECT_TRUE(held_.RequestStop(key_, StopCause::kLeave, now_));
  EXPECT_FALSE(held_.RequestStop(key_, StopCause::kLeave, now_));
  held_.Ended(key_, End(v1::Attempt::CANCELLED), {});
  EXPECT_EQ(Report().state(), v1::Attempt::FAILED);
  EXPECT_EQ(Report().reason(), v1::Reason::WORKER_STOPPED);
}

TEST_F(HeldAttemptsTest, ACancelTakesTheLeadOverALeaveAndNotTheOtherWayRound) {
  EXPECT_TRUE(held_.RequestStop(key_, StopCause::kLeave, now_));
  EXPECT_TRUE(held_.RequestStop(key_, StopCause::kCancel, now_));
  EXPECT_FALSE(held_.RequestStop(key_, StopCause::kLeave, now_));
  held_.Ended(key_, End(v1::Attempt::CANCELLED), {});
  EXPECT_EQ(Report().state(), v1::Attempt::CANCELLED);
  EXPECT_EQ(Report().reason(), v1::Reason::CANCELLED_BY_USER);
}

TEST_F(HeldAttemptsTest, AStopThatWasDeclinedIsToldCountedAndNotAskedForAgainAtOnce) {
  held_.Started(key_);
  EXPECT_FALSE(held_.StopDeclined(key_, now_)) << "nobody asked";
  ASSERT_TRUE(held_.RequestStop(key_, StopCause::kMoveOn, now_));
  EXPECT_TRUE(held_.StopDeclined(key_, now_));
  EXPECT_EQ(Report().declined_stops(), 1);
  EXPECT_EQ(Report().state(), v1::Attempt::RUNNING);
  EXPECT_FALSE(held_.RequestStop(key_, StopCause::kMoveOn, now_ + std::chrono::seconds(9)));
  EXPECT_TRUE(held_.RequestStop(key_, StopCause::kMoveOn, now_ + std::chrono::seconds(10)));
}

TEST_F(HeldAttemptsTest, AWorkerThatLeavesIsNotKeptByADeclinedStop) {
  held_.Started(key_);
  ASSERT_TRUE(held_.RequestStop(key_, StopCause::kMoveOn, now_));
  ASSERT_TRUE(held_.RequestStop(key_, StopCause::kLeave, now_));
  EXPECT_FALSE(held_.StopDeclined(key_, now_));
  v1::AttemptEnded unsaved = End(v1::Attempt::FAILED);
  unsaved.set_reason(v1::Reason::CHECKPOINT_FAILED);
  EXPECT_TRUE(held_.Ended(key_, unsaved, now_));
  EXPECT_EQ(Report().reason(), v1::Reason::WORKER_STOPPED) << "the job has not failed";
  EXPECT_EQ(Report().message(), "said the trainer");
}

TEST_F(HeldAttemptsTest, OneThatIsCutOffGoesOnElsewhereAndSaysWhyItStopped) {
  held_.Started(key_);
  ASSERT_TRUE(held_.RequestStop(key_, StopCause::kMoveOn, now_));
  ASSERT_TRUE(held_.RequestStop(key_, StopCause::kCutOff, now_));
  EXPECT_FALSE(held_.StopDeclined(key_, now_));
  v1::AttemptEnded stopped = End(v1::Attempt::CANCELLED);
  stopped.clear_message();
  EXPECT_TRUE(held_.Ended(key_, stopped, now_));
  EXPECT_EQ(Report().state(), v1::Attempt::FAILED);
  EXPECT_EQ(Report().reason(), v1::Reason::WORKER_STOPPED);
  EXPECT_EQ(Report().message(), "its worker could not reach the server");

  const AttemptKey unsaved{"job-2", 1};
  held_.Add(MakeRef("job-2"), {});
  held_.RequestStop(unsaved, StopCause::kCutOff, now_);
  v1::AttemptEnded full = End(v1::Attempt::FAILED);
  full.set_reason(v1::Reason::CHECKPOINT_FAILED);
  held_.Ended(unsaved, full, now_);
  EXPECT_EQ(held_.Find(unsaved)->end_reason.code, v1::Reason::WORKER_STOPPED) << "the job has not failed";
}

TEST_F(HeldAttemptsTest, ATrainerThatStopsUnaskedHasFailed) {
  held_.Ended(key_, End(v1::Attempt::CANCELLED), {});
  EXPECT_EQ(Report().state(), v1::Attempt::FAILED);
  EXPECT_EQ(Report().reason(), v1::Reason::TRAINER_LOST);
}

TEST_F(HeldAttemptsTest, ASuccessStaysASuccessThoughAStopWasOnItsWay) {
  held_.RequestStop(key_, StopCause::kCancel, now_);
  held_.Ended(key_, End(v1::Attempt::SUCCEEDED), {});
  EXPECT_EQ(Report().state(), v1::Attempt::SUCCEEDED);
}

TEST_F(HeldAttemptsTest, ALostTrainerIsAFailureUnlessItWasKilledOnRequest) {
  held_.Lost(key_, {v1::Reason::OOM_KILLED, "no memory"}, /*as_asked=*/false, {});
  EXPECT_EQ(Report().state(), v1::Attempt::FAILED);
  EXPECT_EQ(Report().reason(), v1::Reason::OOM_KILLED);

  const AttemptKey cancelled{"job-2", 1};
  held_.Add(MakeRef("job-2"), {});
  held_.RequestStop(cancelled, StopCause::kCancel, now_);
  held_.Lost(cancelled, {v1::Reason::KILLED, "did not stop in time"}, /*as_asked=*/true, {});
  EXPECT_EQ(held_.Find(cancelled)->end_state, v1::Attempt::CANCELLED);
}

TEST_F(HeldAttemptsTest, ACrashDuringAStopThatNobodyKilledForIsACrash) {
  held_.RequestStop(key_, StopCause::kLeave, now_);
  held_.Lost(key_, {v1::Reason::CRASHED, "segmentation fault"}, /*as_asked=*/false, {});
  EXPECT_EQ(Report().reason(), v1::Reason::CRASHED);
}

TEST_F(HeldAttemptsTest, WordsAboutAnAttemptThatIsNotHeldChangeNothing) {
  const AttemptKey stranger{"job-9", 1};
  EXPECT_FALSE(held_.Started(stranger));
  EXPECT_FALSE(held_.CommitAnswered(stranger));
  EXPECT_FALSE(held_.Ended(stranger, End(v1::Attempt::SUCCEEDED), {}));
  held_.CheckpointSaved(stranger, "x");
  EXPECT_EQ(held_.all().size(), 1u);
}

}  // namespace
}  // namespace mantissa::agent
