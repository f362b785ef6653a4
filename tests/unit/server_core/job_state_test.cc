#include "server/core/job_state.h"

#include <set>
#include <tuple>

#include "gtest/gtest.h"

namespace mantissa::server {
namespace {

using J = v1::Job;
using A = v1::Attempt;
using Key = std::tuple<int, int, int, int, Mover>;

// The table once more, written from the diagram and not from the code.
std::set<Key> Legal() {
  std::set<Key> legal;
  auto allow = [&](J::State job, A::State attempt, J::State to_job, A::State to_attempt, std::set<Mover> movers) {
    for (Mover mover : movers) legal.insert({job, attempt, to_job, to_attempt, mover});
  };
  const auto none = A::STATE_UNSPECIFIED;
  allow(J::STATE_UNSPECIFIED, none, J::QUEUED, none, {Mover::kUser});
  allow(J::QUEUED, none, J::STARTING, A::STARTING, {Mover::kPlacement});
  allow(J::QUEUED, none, J::CANCELLED, none, {Mover::kUser});
  allow(J::QUEUED, none, J::FAILED, none, {Mover::kClock});
  allow(J::STARTING, A::STARTING, J::RUNNING, A::RUNNING, {Mover::kWorker});
  allow(J::CANCELLING, A::STARTING, J::CANCELLING, A::RUNNING, {Mover::kWorker});
  allow(J::RUNNING, A::RUNNING, J::SUCCEEDED, A::SUCCEEDED, {Mover::kWorker});
  allow(J::STARTING, A::STARTING, J::CANCELLING, A::STARTING, {Mover::kUser});
  allow(J::RUNNING, A::RUNNING, J::CANCELLING, A::RUNNING, {Mover::kUser});
  for (auto [job, attempt] : {std::pair(J::STARTING, A::STARTING), std::pair(J::RUNNING, A::RUNNING)}) {
    for (A::State end : {A::FAILED, A::LOST}) {
      allow(job, attempt, J::QUEUED, end, {Mover::kWorker, Mover::kClock});
      allow(job, attempt, J::FAILED, end, {Mover::kWorker, Mover::kClock});
    }
  }
  for (A::State attempt : {A::STARTING, A::RUNNING}) {
    allow(J::CANCELLING, attempt, J::CANCELLED, A::CANCELLED, {Mover::kWorker});
    allow(J::CANCELLING, attempt, J::CANCELLED, A::FAILED, {Mover::kWorker, Mover::kClock});
    allow(J::CANCELLING, attempt, J::CANCELLED, A::LOST, {Mover::kWorker, Mover::kClock});
  }
  allow(J::CANCELLING, A::RUNNING, J::CANCELLED, A::SUCCEEDED, {Mover::kWorker});

  allow(J::QUEUED, none, J::PAUSED, none, {Mover::kUser});
  allow(J::PAUSED, none, J::QUEUED, none, {Mover::kUser});
  allow(J::PAUSED, none, J::CANCELLED, none, {Mover::kUser});
  for (auto [job, attempt] : {std::pair(J::STARTING, A::STARTING), std::pair(J::RUNNING, A::RUNNING)}) {
    allow(job, attempt, J::QUEUED, A::STOPPED, {Mover::kWorker});
    allow(J::QUEUED, A::LOST, job, attempt, {Mover::kWorker});
    allow(job, attempt, J::PAUSING, attempt, {Mover::kUser});
    allow(J::PAUSING, attempt, job, attempt, {Mover::kUser});
    allow(J::PAUSING, attempt, J::CANCELLING, attempt, {Mover::kUser});
    allow(J::CANCELLING, attempt, J::CANCELLED, A::STOPPED, {Mover::kWorker});
    allow(J::PAUSING, attempt, J::PAUSED, A::STOPPED, {Mover::kWorker});
    allow(J::PAUSING, attempt, J::PAUSED, A::FAILED, {Mover::kWorker, Mover::kClock});
    allow(J::PAUSING, attempt, J::PAUSED, A::LOST, {Mover::kWorker, Mover::kClock});
    allow(J::PAUSING, attempt, J::FAILED, A::FAILED, {Mover::kWorker, Mover::kClock});
  }
  allow(J::PAUSING, A::STARTING, J::PAUSING, A::RUNNING, {Mover::kWorker});
  allow(J::PAUSING, A::RUNNING, J::RUNNING, A::RUNNING, {Mover::kWorker});
  allow(J::PAUSING, A::RUNNING, J::SUCCEEDED, A::SUCCEEDED, {Mover::kWorker});
  return legal;
}

TEST(JobState, EveryMoveIsInTheTableOrRefused) {
  const std::set<Key> legal = Legal();
  int moves = 0;
  for (int job = 0; job < J::State_ARRAYSIZE; ++job) {
    for (int attempt = 0; attempt < A::State_ARRAYSIZE; ++attempt) {
      for (int to_job = 0; to_job < J::State_ARRAYSIZE; ++to_job) {
        for (int to_attempt = 0; to_attempt < A::State_ARRAYSIZE; ++to_attempt) {
          for (Mover mover : {Mover::kUser, Mover::kPlacement, Mover::kWorker, Mover::kClock}) {
            const JobPosition from{static_cast<J::State>(job), static_cast<A::State>(attempt)};
            const JobPosition to{static_cast<J::State>(to_job), static_cast<A::State>(to_attempt)};
            const bool expected = legal.count({job, attempt, to_job, to_attempt, mover}) > 0;
            ASSERT_EQ(IsLegalMove(from, to, mover), expected)
                << J::State_Name(from.job) << "/" << A::State_Name(from.attempt) << " -> " << J::State_Name(to.job)
                << "/" << A::State_Name(to.attempt) << " by " << static_cast<int>(mover);
            moves += expected;
          }
        }
      }
    }
  }
  EXPECT_EQ(moves, static_cast<int>(legal.size()));
}

TEST(JobState, NothingLeavesATerminalState) {
  for (J::State end : {J::SUCCEEDED, J::FAILED, J::CANCELLED}) EXPECT_TRUE(IsTerminal(end));
  for (J::State live :
       {J::STATE_UNSPECIFIED, J::QUEUED, J::STARTING, J::RUNNING, J::PAUSING, J::PAUSED, J::CANCELLING}) {
    EXPECT_FALSE(IsTerminal(live));
  }
  for (A::State end : {A::SUCCEEDED, A::FAILED, A::CANCELLED, A::LOST, A::STOPPED}) EXPECT_TRUE(IsTerminal(end));
  for (A::State live : {A::STATE_UNSPECIFIED, A::STARTING, A::RUNNING}) EXPECT_FALSE(IsTerminal(live));
}

TEST(JobState, ACancelMovesWhatHasNeitherEndedNorIsCancelledAlready) {
  for (J::State state : {J::QUEUED, J::STARTING, J::RUNNING, J::PAUSING, J::PAUSED}) {
    EXPECT_TRUE(IsCancellable(state)) << StateName(state);
  }
  for (J::State state : {J::STATE_UNSPECIFIED, J::CANCELLING, J::SUCCEEDED, J::FAILED, J::CANCELLED}) {
    EXPECT_FALSE(IsCancellable(state)) << StateName(state);
  }
}

}  // namespace
}  // namespace mantissa::server
