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

// An attempt at a study, running.
v1::Assignment FormatTable() {
  v1::Assignment assignment;
  assignment.mutable_spec()->mutable_study()->mutable_format_table();
  return assignment;
}

v1::AttemptEnded EndWith(const v1::Report& report, v1::Attempt::State state = v1::Attempt::SUCCEEDED) {
  v1::AttemptEnded ended;
  ended.set_state(state);
  ended.set_reason(state == v1::Attempt::SUCCEEDED ? v1::Reason::COMPLETED : v1::Reason::BAD_DATA);
  *ended.mutable_report() = report;
  return ended;
}

v1::Report FormatReport(std::size_t bytes = 10) {
  v1::Report report;
  report.mutable_format_table();
  report.set_finding(std::string(bytes, 'x'));
  return report;
}

TEST_F(HeldAttemptsTest, TheReportOfAStudyIsToldUntilItIsForgotten) {
  held_.Forget(key_);
  held_.Add(MakeRef(), FormatTable());
  held_.Started(key_);
  EXPECT_FALSE(Report().has_report());
  EXPECT_TRUE(held_.Ended(key_, EndWith(FormatReport()), {}));
  for (int call = 0; call < 2; ++call) EXPECT_EQ(Report().report().finding(), "xxxxxxxxxx");
  held_.Forget(key_);
  EXPECT_TRUE(held_.Reports().empty());
}

TEST_F(HeldAttemptsTest, AReportThatIsTooLargeOrOfAnotherStudyIsTheTrainersFault) {
  v1::Report other;
  other.mutable_tensor_core();
  for (const v1::Report& bad : {FormatReport((1 << 20) + 1), other, v1::Report()}) {
    held_.Forget(key_);
    held_.Add(MakeRef(), FormatTable());
    held_.Started(key_);
    held_.Ended(key_, EndWith(bad), {});
    EXPECT_EQ(Report().state(), v1::Attempt::FAILED);
    EXPECT_EQ(Report().reason(), v1::Reason::INTERNAL_ERROR);
    EXPECT_NE(Report().message().find("its report"), std::string::npos) << Report().message();
    EXPECT_FALSE(Report().has_report());
  }
}

TEST_F(HeldAttemptsTest, AFailureKeepsItsOwnReasonWhateverItsReportIs) {
  held_.Forget(key_);
  held_.Add(MakeRef(), FormatTable());
  held_.Started(key_);
  held_.Ended(key_, EndWith(FormatReport((1 << 20) + 1), v1::Attempt::FAILED), {});
  EXPECT_EQ(Report().reason(), v1::Reason::BAD_DATA);
  EXPECT_FALSE(Report().has_report());
}

TEST_F(HeldAttemptsTest, ATrainingHasNoReport) {
  held_.Started(key_);
  held_.Ended(key_, EndWith(FormatReport()), {});
  EXPECT_EQ(Report().reason(), v1::Reason::INTERNAL_ERROR);
  EXPECT_FALSE(Report().has_report());
}

TEST_F(HeldAttemptsTest, EndsWhoseReportsDoNotFitAMessageWaitForThoseBeforeThem) {
  held_.Forget(key_);
  std::vector<v1::AttemptRef> refs;
  for (int number = 1; number <= 3; ++number) {
    v1::AttemptRef ref = MakeRef();
    ref.set_attempt(number);
    held_.Add(ref, FormatTable());
    held_.Started(KeyOf(ref));
    held_.Ended(KeyOf(ref), EndWith(FormatReport(900 << 10)), {});
    refs.push_back(ref);
  }
  std::vector<v1::AttemptReport> reports = held_.Reports();
  ASSERT_EQ(reports.size(), 3u);
  EXPECT_EQ(reports[1].state(), v1::Attempt::SUCCEEDED);
  EXPECT_EQ(reports[2].state(), v1::Attempt::RUNNING) << "held back, and not without its report";
  EXPECT_FALSE(reports[2].has_report());
  held_.Forget(KeyOf(refs[0]));
  reports = held_.Reports();
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[1].state(), v1::Attempt::SUCCEEDED);
  EXPECT_TRUE(reports[1].has_report());
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
