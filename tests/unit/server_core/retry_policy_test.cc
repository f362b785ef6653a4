#include "server/core/retry_policy.h"

#include <set>

#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

using Next = RetryDecision::Next;
using std::chrono::milliseconds;

v1::RetryPolicy Policy(int32_t attempts, int64_t initial_seconds, int64_t max_seconds) {
  v1::RetryPolicy policy;
  policy.set_max_attempts(attempts);
  policy.mutable_initial_backoff()->set_seconds(initial_seconds);
  policy.mutable_max_backoff()->set_seconds(max_seconds);
  return policy;
}

TEST(RetryPolicy, RetriesInfrastructureFaultsAndNothingElse) {
  const std::set<int> retried = {v1::Reason::NODE_LOST,      v1::Reason::OOM_KILLED,   v1::Reason::KILLED,
                                 v1::Reason::CRASHED,        v1::Reason::STALLED,      v1::Reason::START_TIMEOUT,
                                 v1::Reason::WORKER_STOPPED, v1::Reason::TRAINER_LOST, v1::Reason::PREEMPTED,
                                 v1::Reason::PAUSED_BY_USER, v1::Reason::REQUEUED,     v1::Reason::ROLLED_BACK,
                                 v1::Reason::FELL_BACK};
  for (int code = 0; code < v1::Reason::Code_ARRAYSIZE; ++code) {
    if (!v1::Reason::Code_IsValid(code)) continue;
    const auto reason = static_cast<v1::Reason::Code>(code);
    EXPECT_EQ(IsRetried({}, reason), retried.count(code) > 0) << v1::Reason::Code_Name(reason);
    const Next next = DecideRetry(Policy(3, 1, 60), reason, 1, 0).next;
    EXPECT_EQ(next == Next::kFinal, retried.count(code) == 0) << v1::Reason::Code_Name(reason);
  }
}

TEST(RetryPolicy, ASpecMayRetryMoreAndLess) {
  v1::RetryPolicy policy = Policy(3, 1, 60);
  policy.add_retry_on(v1::Reason::NUMERIC_FAILURE);
  policy.add_never_on(v1::Reason::OOM_KILLED);
  EXPECT_EQ(DecideRetry(policy, v1::Reason::NUMERIC_FAILURE, 1, 0).next, Next::kBackOff);
  EXPECT_EQ(DecideRetry(policy, v1::Reason::NUMERIC_FAILURE, 3, 0).next, Next::kExhausted);
  EXPECT_EQ(DecideRetry(policy, v1::Reason::OOM_KILLED, 1, 0).next, Next::kFinal);
  EXPECT_EQ(DecideRetry(policy, v1::Reason::CRASHED, 1, 0).next, Next::kBackOff);
  EXPECT_EQ(DecideRetry(policy, v1::Reason::BAD_SPEC, 1, 0).next, Next::kFinal);
}

TEST(RetryPolicy, StopsWhenTheBudgetIsUsedUp) {
  EXPECT_EQ(DecideRetry(Policy(3, 1, 60), v1::Reason::CRASHED, 2, 0).next, Next::kBackOff);
  EXPECT_EQ(DecideRetry(Policy(3, 1, 60), v1::Reason::CRASHED, 3, 0).next, Next::kExhausted);
  EXPECT_EQ(DecideRetry(Policy(1, 1, 60), v1::Reason::CRASHED, 1, 0).next, Next::kExhausted);
  v1::RetryPolicy absent;
  EXPECT_EQ(DecideRetry(absent, v1::Reason::CRASHED, 3, 0).next, Next::kBackOff);
  EXPECT_EQ(DecideRetry(absent, v1::Reason::CRASHED, 4, 0).next, Next::kExhausted);
}

TEST(RetryPolicy, AStopByRequestCostsNothing) {
  for (auto reason : {v1::Reason::WORKER_STOPPED, v1::Reason::PREEMPTED, v1::Reason::PAUSED_BY_USER,
                      v1::Reason::REQUEUED, v1::Reason::ROLLED_BACK, v1::Reason::FELL_BACK}) {
    EXPECT_TRUE(IsFree(reason));
    const RetryDecision decision = DecideRetry(Policy(1, 1, 60), reason, 99, 0);
    EXPECT_EQ(decision.next, Next::kRequeue);
    EXPECT_EQ(decision.wait.count(), 0);
  }
  EXPECT_FALSE(IsFree(v1::Reason::KILLED));
}

TEST(RetryPolicy, WaitDoublesUpToItsCeiling) {
  // A seed of 200 is the middle: no jitter.
  const uint64_t middle = 200;
  EXPECT_EQ(DecideRetry(Policy(99, 1, 60), v1::Reason::CRASHED, 1, middle).wait, milliseconds(1'000));
  EXPECT_EQ(DecideRetry(Policy(99, 1, 60), v1::Reason::CRASHED, 2, middle).wait, milliseconds(2'000));
  EXPECT_EQ(DecideRetry(Policy(99, 1, 60), v1::Reason::CRASHED, 6, middle).wait, milliseconds(32'000));
  EXPECT_EQ(DecideRetry(Policy(99, 1, 60), v1::Reason::CRASHED, 7, middle).wait, milliseconds(60'000));
  EXPECT_EQ(DecideRetry(Policy(99, 1, 60), v1::Reason::CRASHED, 98, middle).wait, milliseconds(60'000));
  EXPECT_EQ(DecideRetry(Policy(99, 90, 60), v1::Reason::CRASHED, 1, middle).wait, milliseconds(60'000));
}

TEST(RetryPolicy, AWaitOfNothingIsNoWait) {
  EXPECT_EQ(DecideRetry(Policy(9, 0, 60), v1::Reason::CRASHED, 3, 200).wait, milliseconds(0));
  EXPECT_EQ(DecideRetry(Policy(9, 0, 0), v1::Reason::CRASHED, 3, 200).wait, milliseconds(0));
  v1::RetryPolicy absent;
  EXPECT_EQ(DecideRetry(absent, v1::Reason::CRASHED, 1, 200).wait, milliseconds(1'000));
  EXPECT_EQ(DecideRetry(absent, v1::Reason::NODE_LOST, 3, 200).wait, milliseconds(4'000));
}

TEST(RetryPolicy, JitterIsAFifthEitherWayAndRepeatable) {
  std::set<int64_t> waits;
  for (uint64_t seed = 0; seed < 2'000; ++seed) {
    const milliseconds wait = DecideRetry(Policy(9, 1, 60), v1::Reason::CRASHED, 1, seed).wait;
    EXPECT_GE(wait, milliseconds(800));
    EXPECT_LE(wait, milliseconds(1'200));
    EXPECT_EQ(wait, DecideRetry(Policy(9, 1, 60), v1::Reason::CRASHED, 1, seed).wait);
    waits.insert(wait.count());
  }
  EXPECT_EQ(*waits.begin(), 800);
  EXPECT_EQ(*waits.rbegin(), 1'200);
  EXPECT_EQ(BackoffSeed("job", 1), BackoffSeed("job", 1));
  EXPECT_NE(BackoffSeed("job", 1), BackoffSeed("job", 2));
  EXPECT_NE(BackoffSeed("job", 1), BackoffSeed("jab", 1));
}

TEST(RetryPolicy, HugeWaitsDoNotOverflow) {
  v1::RetryPolicy policy = Policy(1'000, INT64_MAX, INT64_MAX);
  const RetryDecision decision = DecideRetry(policy, v1::Reason::CRASHED, 900, 400);
  EXPECT_EQ(decision.next, Next::kBackOff);
  EXPECT_GT(decision.wait.count(), 0);
}

}  // namespace
}  // namespace mantissa::server
