#include "worker/agent/desired_state.h"

#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {
namespace {

using Goal = v1::DesiredAttempt;

class DesiredStateTest : public testing::Test {
 protected:
  void Want(const v1::AttemptRef& ref, Goal::Goal goal, bool assignment = false) {
    v1::DesiredAttempt& attempt = *desired_.add_attempts();
    *attempt.mutable_ref() = ref;
    attempt.set_goal(goal);
    if (assignment) attempt.mutable_assignment()->set_tenant("t");
  }
  void Hold(const v1::AttemptRef& ref, bool ended = false) {
    held_.Add(ref, {});
    v1::AttemptEnded end;
    end.set_state(v1::Attempt::SUCCEEDED);
    if (ended) held_.Ended(KeyOf(ref), end, {});
  }

  v1::SynchronizeResponse desired_;
  HeldAttempts held_;
};

TEST_F(DesiredStateTest, StartsWhatItDoesNotHold) {
  Want(MakeRef(), Goal::RUN, /*assignment=*/true);
  const Orders orders = Decide(desired_, held_, /*draining=*/false);
  ASSERT_EQ(orders.start.size(), 1u);
  EXPECT_EQ(orders.start[0].assignment().tenant(), "t");
}

TEST_F(DesiredStateTest, LeavesAloneWhatRunsAsWanted) {
  Hold(MakeRef());
  Want(MakeRef(), Goal::RUN, /*assignment=*/true);
  const Orders orders = Decide(desired_, held_, false);
  EXPECT_TRUE(orders.start.empty() && orders.cancel.empty() && orders.move_on.empty() && orders.abandon.empty() &&
              orders.forget.empty());
}

TEST_F(DesiredStateTest, CannotStartWithoutAnAssignment) {
  Want(MakeRef(), Goal::RUN);
  EXPECT_TRUE(Decide(desired_, held_, false).start.empty());
}

TEST_F(DesiredStateTest, AbandonsWhatTheServerDoesNotName) {
  Hold(MakeRef("a"));
  Hold(MakeRef("b"), /*ended=*/true);
  Hold(MakeRef("c"));
  Want(MakeRef("c"), Goal::RUN);
  const Orders orders = Decide(desired_, held_, false);
  EXPECT_EQ(orders.abandon, (std::vector<AttemptKey>{{"a", 1}, {"b", 1}}));
}

TEST_F(DesiredStateTest, AbandonsAnAttemptWhoseTokenIsAnother) {
  Hold(MakeRef());
  v1::AttemptRef other = MakeRef();
  other.set_token("another token...");
  Want(other, Goal::RUN, /*assignment=*/true);
  const Orders orders = Decide(desired_, held_, false);
  EXPECT_EQ(orders.abandon.size(), 1u);
  EXPECT_TRUE(orders.start.empty()) << "not while the old one is still there";
}

TEST_F(DesiredStateTest, CancelsAndStopsWhatRunsButNotWhatHasEnded) {
  Hold(MakeRef("a"));
  Hold(MakeRef("b"));
  Hold(MakeRef("c"), /*ended=*/true);
  Hold(MakeRef("d"), /*ended=*/true);
  Want(MakeRef("a"), Goal::CANCEL);
  Want(MakeRef("b"), Goal::STOP_WITH_CHECKPOINT);
  Want(MakeRef("c"), Goal::CANCEL);
  Want(MakeRef("d"), Goal::STOP_WITH_CHECKPOINT);
  const Orders orders = Decide(desired_, held_, false);
  EXPECT_EQ(orders.cancel, (std::vector<AttemptKey>{{"a", 1}}));
  EXPECT_EQ(orders.move_on, (std::vector<AttemptKey>{{"b", 1}}));
  EXPECT_TRUE(orders.abandon.empty());
}

TEST_F(DesiredStateTest, ForgetsAnEndAndAbandonsWhatTheServerTookForEnded) {
  Hold(MakeRef("a"), /*ended=*/true);
  Hold(MakeRef("b"));
  Want(MakeRef("a"), Goal::FORGET);
  Want(MakeRef("b"), Goal::FORGET);
  const Orders orders = Decide(desired_, held_, false);
  EXPECT_EQ(orders.forget, (std::vector<AttemptKey>{{"a", 1}}));
  EXPECT_EQ(orders.abandon, (std::vector<AttemptKey>{{"b", 1}}));
}

TEST_F(DesiredStateTest, StartsNothingWhileItDrainsAndLeavesWhatRuns) {
  Hold(MakeRef("a"));
  Want(MakeRef("a"), Goal::RUN);
  Want(MakeRef("b"), Goal::RUN, /*assignment=*/true);
  for (const bool own : {true, false}) {
    desired_.set_drain(!own);
    const Orders orders = Decide(desired_, held_, own);
    EXPECT_TRUE(orders.start.empty());
    EXPECT_EQ(orders.move_on, (std::vector<AttemptKey>{{"a", 1}}));
  }
}

TEST_F(DesiredStateTest, KeepsAnAttemptUnderAGoalItDoesNotKnow) {
  Hold(MakeRef());
  Want(MakeRef(), static_cast<Goal::Goal>(99));
  const Orders orders = Decide(desired_, held_, false);
  EXPECT_TRUE(orders.abandon.empty() && orders.cancel.empty() && orders.move_on.empty());
}

}  // namespace
}  // namespace mantissa::agent
