#include "worker/agent/forward/checkpoint_forwarder.h"

#include <chrono>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/unit/agent/fake_server_link.h"

namespace mantissa::agent {
namespace {

using process::SteadyTime;
using std::chrono::milliseconds;

class CheckpointForwarderTest : public testing::Test {
 protected:
  void Tick(milliseconds later = milliseconds(0)) {
    now_ += later;
    for (const Inbox::Action& action : inbox_.TakeAll()) action();
    forwarder_.Tick(now_);
    for (FakeServerLink::CommitCall& call : link_.TakeCommits()) calls_.push_back(std::move(call));
  }
  void Save(const std::string& name) {
    v1::Checkpoint checkpoint;
    checkpoint.set_name(name);
    checkpoint.set_path("job-1/" + name);
    forwarder_.Commit(MakeRef(), checkpoint);
  }
  void Answer(absl::StatusOr<v1::CommitCheckpointResponse> answer) {
    ASSERT_FALSE(calls_.empty());
    auto call = std::move(calls_.front());
    calls_.pop_front();
    call.done(std::move(answer));
    Tick();
  }

  FakeServerLink link_;
  Inbox inbox_;
  CheckpointForwarder forwarder_{link_, inbox_};
  std::deque<FakeServerLink::CommitCall> calls_;
  SteadyTime now_{std::chrono::hours(1)};
};

TEST_F(CheckpointForwarderTest, TellsWhatMayBeDeleted) {
  Save("one");
  Tick();
  v1::CommitCheckpointResponse response;
  response.add_deletions()->set_path("job-1/attempt-0001/step-1");
  Answer(response);
  const auto answers = forwarder_.TakeAnswers();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].committed.name(), "one");
  EXPECT_EQ(answers[0].committed.deletions(0), "job-1/attempt-0001/step-1");
  EXPECT_TRUE(answers[0].committed.error().empty());
  EXPECT_FALSE(answers[0].given_up);
  EXPECT_TRUE(forwarder_.Drained());
}

TEST_F(CheckpointForwarderTest, CommitsOneAtATimeInOrder) {
  Save("one");
  Save("two");
  Tick();
  ASSERT_EQ(calls_.size(), 1u);
  EXPECT_EQ(calls_[0].request.checkpoint().name(), "one");
  Answer(v1::CommitCheckpointResponse());
  ASSERT_EQ(calls_.size(), 1u);
  EXPECT_EQ(calls_[0].request.checkpoint().name(), "two");
}

TEST_F(CheckpointForwarderTest, AsksAgainWhileTheServerIsAwayOrFull) {
  Save("one");
  Tick();
  for (const absl::Status& status : {absl::UnavailableError("away"), absl::ResourceExhaustedError("read-only"),
                                     absl::DeadlineExceededError("slow"), absl::InternalError("?")}) {
    Answer(status);
    EXPECT_TRUE(calls_.empty()) << "not at once";
    Tick(milliseconds(5'000));
    ASSERT_EQ(calls_.size(), 1u) << status;
    EXPECT_TRUE(forwarder_.TakeAnswers().empty());
  }
  Answer(v1::CommitCheckpointResponse());
  EXPECT_EQ(forwarder_.TakeAnswers().size(), 1u);
  EXPECT_EQ(forwarder_.counts().retries, 4);
}

TEST_F(CheckpointForwarderTest, ARefusalIsFinalAndReachesTheTrainer) {
  for (const absl::Status& status :
       {absl::AbortedError("lease lost"), absl::InvalidArgumentError("bad"), absl::FailedPreconditionError("older")}) {
    Save("one");
    Tick();
    Answer(status);
    const auto answers = forwarder_.TakeAnswers();
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers[0].committed.error(), status.message());
  }
  EXPECT_EQ(forwarder_.counts().refused, 3);
}

TEST_F(CheckpointForwarderTest, WhileTheServerIsAwayTheOneAskedAboutAndTheNewestAreKept) {
  Save("one");
  Tick();
  for (const char* name : {"two", "three", "four"}) Save(name);
  EXPECT_TRUE(forwarder_.TakeAnswers().empty()) << "the server is only slow";
  Answer(absl::UnavailableError("away"));
  Save("five");
  const auto given_up = forwarder_.TakeAnswers();
  ASSERT_EQ(given_up.size(), 3u);
  for (std::size_t i = 0; i < given_up.size(); ++i) {
    const std::string name = std::vector<std::string>{"two", "three", "four"}[i];
    EXPECT_EQ(given_up[i].key, (AttemptKey{"job-1", 1}));
    EXPECT_TRUE(given_up[i].given_up);
    EXPECT_EQ(given_up[i].committed.name(), name);
    ASSERT_EQ(given_up[i].committed.deletions_size(), 1);
    EXPECT_EQ(given_up[i].committed.deletions(0), "job-1/" + name);
    EXPECT_TRUE(given_up[i].committed.error().empty());
  }

  Tick(milliseconds(5'000));
  ASSERT_EQ(calls_.size(), 1u);
  EXPECT_EQ(calls_[0].request.checkpoint().name(), "one");
  Answer(v1::CommitCheckpointResponse());
  ASSERT_EQ(calls_.size(), 1u);
  EXPECT_EQ(calls_[0].request.checkpoint().name(), "five");
  EXPECT_EQ(forwarder_.counts().committed, 1) << "what was given up does not count";
  Save("six");
  Save("seven");
  for (const char* name : {"five", "six", "seven"}) {
    ASSERT_EQ(calls_.size(), 1u);
    EXPECT_EQ(calls_[0].request.checkpoint().name(), name) << "nothing is given up once the server is back";
    Answer(v1::CommitCheckpointResponse());
  }
}

TEST_F(CheckpointForwarderTest, TheAnswerForAForgottenAttemptIsNobodys) {
  Save("one");
  Tick();
  forwarder_.Forget(AttemptKey{"job-1", 1});
  Answer(v1::CommitCheckpointResponse());
  EXPECT_TRUE(forwarder_.TakeAnswers().empty());
  EXPECT_EQ(forwarder_.NextDeadline(), SteadyTime::max());
}

}  // namespace
}  // namespace mantissa::agent
