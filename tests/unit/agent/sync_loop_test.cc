#include "worker/agent/sync_loop.h"

#include <chrono>

#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

using google::protobuf::util::TimeUtil;
using process::SteadyTime;
using std::chrono::milliseconds;

// A server's answer; ticks of the clock are a test's own.
class SyncLoopTest : public testing::Test {
 protected:
  static v1::SynchronizeResponse Answer(std::int64_t number, std::int64_t revision, std::int64_t epoch = 1) {
    v1::SynchronizeResponse response;
    response.set_report_number(number);
    response.set_desired_revision(revision);
    response.set_server_epoch(epoch);
    *response.mutable_next_call() = TimeUtil::MillisecondsToDuration(2'000);
    return response;
  }

  // Calls, and lets a second pass until the answer comes.
  bool CallAndAnswer(std::int64_t revision, std::int64_t epoch = 1) {
    const auto call = loop_.Next(true, now_);
    EXPECT_TRUE(call.has_value());
    now_ += milliseconds(1'000);
    return call.has_value() && loop_.Answered(Answer(call->number, revision, epoch), now_);
  }

  SyncLoop loop_{SyncOptions{}};
  SteadyTime now_{std::chrono::hours(1)};
};

TEST_F(SyncLoopTest, CallsAtOnceAndThenWaitsForTheAnswer) {
  const auto call = loop_.Next(true, now_);
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(call->number, 1);
  EXPECT_EQ(call->applied_revision, 0);
  EXPECT_EQ(call->deadline - call->hang, milliseconds(3'000));
  EXPECT_FALSE(loop_.Next(true, now_ + milliseconds(4'000)).has_value());
  EXPECT_EQ(loop_.NextDeadline(), SteadyTime::max());
}

TEST_F(SyncLoopTest, ReportsTheRevisionItHasCarriedOutAndTakesTheServersInterval) {
  EXPECT_TRUE(CallAndAnswer(7));
  const auto call = loop_.Next(true, now_);
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(call->applied_revision, 7);
  EXPECT_EQ(call->hang, milliseconds(2'000));
}

TEST_F(SyncLoopTest, TheLeaseCountsFromWhenTheCallWentOutThatWasAnsweredLast) {
  EXPECT_EQ(loop_.lease(), milliseconds(0));
  const SteadyTime sent = now_;
  const auto call = loop_.Next(true, sent);
  ASSERT_TRUE(call.has_value());
  v1::SynchronizeResponse answer = Answer(call->number, 1);
  *answer.mutable_lease() = TimeUtil::MillisecondsToDuration(30'000);
  EXPECT_TRUE(loop_.Answered(answer, sent + milliseconds(5'000)));
  EXPECT_EQ(loop_.lease(), milliseconds(30'000));
  EXPECT_EQ(loop_.leased_from(), sent);
  const auto lost = loop_.Next(true, sent + milliseconds(5'000));
  ASSERT_TRUE(lost.has_value());
  loop_.Failed(lost->number, absl::UnavailableError("away"), sent + milliseconds(9'000));
  EXPECT_EQ(loop_.leased_from(), sent) << "a call that was not answered extends nothing";
}

TEST_F(SyncLoopTest, DoesNotCallARevisionAppliedThatIsStillBeingCarriedOut) {
  EXPECT_TRUE(CallAndAnswer(7));
  const auto early = loop_.Next(/*carried_out=*/false, now_);
  ASSERT_TRUE(early.has_value());
  EXPECT_EQ(early->applied_revision, 0);
  loop_.Changed();
  const auto later = loop_.Next(/*carried_out=*/true, now_);
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->applied_revision, 7);
}

TEST_F(SyncLoopTest, ANewsSupersedesTheCallThatHangs) {
  EXPECT_TRUE(CallAndAnswer(1));
  const auto hanging = loop_.Next(true, now_);
  loop_.Changed();
  EXPECT_EQ(loop_.NextDeadline(), SteadyTime::min());
  const auto newer = loop_.Next(true, now_);
  ASSERT_TRUE(newer.has_value());
  EXPECT_EQ(newer->number, hanging->number + 1);
  EXPECT_FALSE(loop_.Answered(Answer(hanging->number, 9), now_)) << "the older answer does not know the news";
  loop_.Failed(hanging->number, absl::AbortedError("superseded"), now_);
  EXPECT_TRUE(loop_.connected()) << "the end of the older call says nothing of the newer";
  EXPECT_TRUE(loop_.Answered(Answer(newer->number, 2), now_));
}

TEST_F(SyncLoopTest, AnAnswerCountsOnce) {
  const auto call = loop_.Next(true, now_);
  EXPECT_TRUE(loop_.Answered(Answer(call->number, 1), now_));
  EXPECT_FALSE(loop_.Answered(Answer(call->number, 2), now_));
}

TEST_F(SyncLoopTest, IgnoresAServerThatAnotherHasTakenOverFrom) {
  EXPECT_TRUE(CallAndAnswer(1, /*epoch=*/5));
  const auto call = loop_.Next(true, now_);
  EXPECT_FALSE(loop_.Answered(Answer(call->number, 2, /*epoch=*/4), now_));
  EXPECT_FALSE(loop_.connected());
  EXPECT_FALSE(loop_.Next(true, now_).has_value()) << "it waits before it tries again";
  now_ += milliseconds(1'000);
  EXPECT_TRUE(CallAndAnswer(2, /*epoch=*/5));
}

TEST_F(SyncLoopTest, BacksOffWhileTheServerIsAwayEvenWhenThereIsNews) {
  for (const int wait : {200, 400, 800, 1'000, 1'000}) {
    const auto call = loop_.Next(true, now_);
    ASSERT_TRUE(call.has_value());
    loop_.Failed(call->number, absl::UnavailableError("away"), now_);
    loop_.Changed();
    EXPECT_FALSE(loop_.Next(true, now_ + milliseconds(wait - 1)).has_value()) << wait;
    EXPECT_EQ(loop_.NextDeadline(), now_ + milliseconds(wait));
    now_ += milliseconds(wait);
  }
  EXPECT_TRUE(CallAndAnswer(1));
  const auto call = loop_.Next(true, now_);
  loop_.Failed(call->number, absl::UnavailableError("away"), now_);
  EXPECT_TRUE(loop_.Next(true, now_ + milliseconds(200)).has_value()) << "an answer resets the wait";
}

TEST_F(SyncLoopTest, ForgetsTheRevisionWhenACallFailsBecauseANewServerCountsFromTheBeginning) {
  EXPECT_TRUE(CallAndAnswer(57));
  auto call = loop_.Next(true, now_);
  EXPECT_EQ(call->applied_revision, 57);
  loop_.Failed(call->number, absl::UnavailableError("restarting"), now_);
  now_ += milliseconds(1'000);
  call = loop_.Next(true, now_);
  ASSERT_TRUE(call.has_value());
  EXPECT_EQ(call->applied_revision, 0);
}

TEST_F(SyncLoopTest, AsksForAFreshChannelAfterTwoMissedDeadlinesInARow) {
  const auto miss = [&](const absl::Status& status) {
    const auto call = loop_.Next(true, now_);
    EXPECT_TRUE(call.has_value());
    loop_.Failed(call->number, status, now_);
    now_ += milliseconds(2'000);
    return call->fresh_channel;
  };
  EXPECT_FALSE(miss(absl::DeadlineExceededError("")));
  EXPECT_FALSE(miss(absl::UnavailableError("")));  // an answer of a kind: the count begins again
  EXPECT_FALSE(miss(absl::DeadlineExceededError("")));
  EXPECT_FALSE(miss(absl::DeadlineExceededError("")));
  EXPECT_TRUE(miss(absl::DeadlineExceededError("")));
  EXPECT_FALSE(miss(absl::DeadlineExceededError(""))) << "one channel, not one a call";
}

TEST_F(SyncLoopTest, DoesNotSpinOnAServerThatAnswersAtOnceWithNothingNew) {
  EXPECT_TRUE(CallAndAnswer(3));
  const auto call = loop_.Next(true, now_);
  EXPECT_TRUE(loop_.Answered(Answer(call->number, 3), now_));
  EXPECT_FALSE(loop_.Next(true, now_ + milliseconds(99)).has_value());
  EXPECT_TRUE(loop_.Next(true, now_ + milliseconds(100)).has_value());
}

TEST_F(SyncLoopTest, CallsAgainAtOnceWhenTheAnswerHasNews) {
  EXPECT_TRUE(CallAndAnswer(3));
  const auto call = loop_.Next(true, now_);
  EXPECT_TRUE(loop_.Answered(Answer(call->number, 4), now_));
  EXPECT_TRUE(loop_.Next(true, now_).has_value());
}

TEST_F(SyncLoopTest, KnowsWhichReportsWereHeard) {
  const auto first = loop_.Next(true, now_);
  loop_.Changed();
  const auto second = loop_.Next(true, now_);
  EXPECT_LT(loop_.answered_number(), first->number);
  EXPECT_TRUE(loop_.Answered(Answer(second->number, 1), now_));
  EXPECT_EQ(loop_.answered_number(), second->number);
  EXPECT_EQ(loop_.last_answer(), now_);
}

}  // namespace
}  // namespace mantissa::agent
