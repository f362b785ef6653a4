// How attempts begin: from somebody's parameters, with a micro-batch of their own choice, on a storage that earlier
// attempts left in disorder.
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "worker/trainer/machine/host.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kOtherJob[] = "01j00000000000000000000009";

class AttemptStartTest : public ::testing::Test {
 protected:
  static std::optional<v1::JobEvent> Find(const AttemptSeen& seen, const std::string& reason) {
    for (v1::JobEvent& event : seen.events()) {
      if (event.reason() == reason) return std::move(event);
    }
    return std::nullopt;
  }
  static double FirstLoss(const AttemptSeen& seen) {
    for (const v1::Segment& segment : seen.segments) {
      const std::vector<double> losses = DoublesIn(segment.records(), v1::Column::LOSS);
      if (!losses.empty()) return losses.front();
    }
    ADD_FAILURE() << "no loss";
    return 0;
  }

  // Another job's end.
  v1::Checkpoint RunOtherJob() {
    v1::RunAttempt other = AttemptOf("training { seed: 4 optimizer { adamw { learning_rate: 0.05 } } }");
    other.set_job_id(kOtherJob);
    const AttemptSeen seen = RunIn(folder_, other);
    EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
    return seen.saved.back();
  }
  v1::RunAttempt FromOtherJob(const v1::Checkpoint& checkpoint, std::int32_t attempt = 1) {
    v1::RunAttempt run = AttemptOf(std::string("training { init_from { job_id: '") + kOtherJob + "' } }", attempt);
    *run.mutable_init_from() = checkpoint;
    return run;
  }

  RunFolder folder_;
};

TEST_F(AttemptStartTest, BeginsFromAnotherJobsParametersAndSaysSo) {
  const v1::Checkpoint other = RunOtherJob();
  const AttemptSeen seen = RunIn(folder_, FromOtherJob(other));
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  const std::optional<v1::JobEvent> said = Find(seen, "INITIALISED");
  ASSERT_TRUE(said.has_value());
  EXPECT_THAT(said->message(), HasSubstr(other.name()));
  EXPECT_LT(FirstLoss(seen), FirstLoss(RunIn(folder_, AttemptOf("", 2)))) << "what was learned is there";
  EXPECT_EQ(IntegersIn(seen.segments, v1::Column::ITERATION).at(0), 1) << "the job itself begins at its beginning";
}

TEST_F(AttemptStartTest, AnAttemptThatGoesOnDoesNotBeginAgain) {
  const v1::Checkpoint other = RunOtherJob();
  const AttemptSeen whole = RunIn(folder_, FromOtherJob(other));
  RunFolder::Damage(folder_.checkpoints() / other.path() / "model.safetensors");
  v1::RunAttempt second = FromOtherJob(other, 2);
  *second.add_resume_from() = whole.saved.back();
  const AttemptSeen seen = RunIn(folder_, second);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_FALSE(Find(seen, "INITIALISED").has_value());
}

TEST_F(AttemptStartTest, ParametersThatDoNotFitAreABadSpecAndADamagedSourceIsNot) {
  const v1::Checkpoint other = RunOtherJob();
  v1::RunAttempt wide = FromOtherJob(other);
  wide.mutable_spec()->mutable_training()->mutable_model()->mutable_mlp()->set_hidden(0, 5);
  const AttemptSeen refused = RunIn(folder_, wide);
  EXPECT_EQ(refused.ended.reason(), v1::Reason::BAD_SPEC);
  EXPECT_THAT(refused.ended.message(), HasSubstr("head.weight is [3, 5] here and [3, 4] in the source"));
  RunFolder::Damage(folder_.checkpoints() / other.path() / "model.safetensors");
  EXPECT_EQ(RunIn(folder_, FromOtherJob(other)).ended.reason(), v1::Reason::CHECKPOINT_FAILED);
  EXPECT_EQ(RunIn(folder_, AttemptOf("training { init_from { path: 'nowhere' } }")).ended.reason(),
            v1::Reason::BAD_DATA);
}

TEST_F(AttemptStartTest, ChoosesAMicroBatchSaysItAndTrainsWithIt) {
  const AttemptSeen seen = RunIn(folder_, AttemptOf("training { micro_batch: AUTO }"));
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  const std::optional<v1::JobEvent> chosen = Find(seen, "MICRO_BATCH_CHOSEN");
  ASSERT_TRUE(chosen.has_value());
  EXPECT_EQ(chosen->micro_batch().micro_batch(), 8);
  EXPECT_EQ(chosen->micro_batch().accumulation(), 1);
  EXPECT_THAT(chosen->message(), HasSubstr("micro-batches of 8 samples, accumulation 1: about "));
  const v1::TrainingStarted& started = seen.events().at(0).started();
  EXPECT_EQ(started.micro_batch(), 8);
  EXPECT_EQ(started.accumulation(), 1);
  EXPECT_GT(started.memory().parameters(), 0);
  EXPECT_EQ(started.memory().total(), chosen->micro_batch().estimated_bytes());
  EXPECT_EQ(started.memory().free(), chosen->micro_batch().free_bytes());
  EXPECT_FALSE(Find(RunIn(folder_, AttemptOf("", 2)), "MICRO_BATCH_CHOSEN").has_value());
}

TEST_F(AttemptStartTest, AResumedAttemptFollowsTheChoiceSoThatItsBitsStay) {
  // The first attempt has room for little, the second for all; alone, each would choose its own.
  const std::string job =
      "training { micro_batch: AUTO batch_size: 4096 data { train { synthetic { samples: 4096 shape: 64 } } } "
      "model { mlp { hidden: 512 } } iterations: 6 }";
  const auto limited = [] { return ResidentMemory() + (std::int64_t{24} << 20); };
  FakeControl control(2, /*checkpoint=*/true);
  const AttemptSeen first = RunIn(folder_, AttemptOf(job), {.control = &control, .memory_limit_bytes = limited()});
  ASSERT_EQ(first.saved.size(), 1u) << first.ended.message();
  const std::int32_t chosen = Find(first, "MICRO_BATCH_CHOSEN")->micro_batch().micro_batch();
  ASSERT_LT(chosen, 4096);
  v1::RunAttempt second = AttemptOf(job, 2);
  *second.add_resume_from() = first.saved.at(0);
  const AttemptSeen seen = RunIn(folder_, second);
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(seen.events().at(0).started().micro_batch(), chosen);
  EXPECT_FALSE(Find(seen, "MICRO_BATCH_CHOSEN").has_value());
  EXPECT_FALSE(Find(seen, "RESUME_NOT_BITWISE").has_value());
  EXPECT_EQ(RunIn(folder_, AttemptOf(job, 3)).events().at(0).started().micro_batch(), 4096);
}

TEST_F(AttemptStartTest, RemovesWhatEarlierAttemptsLeftAndNobodyNamed) {
  FakeControl control(5, /*checkpoint=*/true);
  const AttemptSeen first = RunIn(folder_, AttemptOf(), {.control = &control});
  ASSERT_EQ(first.saved.size(), 1u);
  const std::filesystem::path job = folder_.checkpoints() / kJob;
  const auto tear = [&](const std::string& name) {
    std::filesystem::create_directories(job / name);
    RunFolder::Write(job / name / ".model.safetensors.tmp", "half");
  };
  tear("attempt-0001/step-00000009");
  tear("attempt-0002/step-00000009");
  v1::RunAttempt third = AttemptOf("", 3);
  *third.add_resume_from() = first.saved.at(0);
  // An older server says nothing of what is committed, and nothing is removed.
  EXPECT_THAT(ReasonsOf(RunIn(folder_, third).events()), Not(Contains("CHECKPOINTS_RECLAIMED")));
  EXPECT_TRUE(std::filesystem::exists(job / "attempt-0001/step-00000009"));
  third.set_attempt(4);
  third.mutable_committed()->add_names(first.saved.at(0).name());
  third.mutable_committed()->add_names("attempt-0003/step-00000020");
  const AttemptSeen seen = RunIn(folder_, third);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  const std::optional<v1::JobEvent> said = Find(seen, "CHECKPOINTS_RECLAIMED");
  ASSERT_TRUE(said.has_value());
  EXPECT_THAT(said->message(), HasSubstr("removed 2 unfinished or uncommitted checkpoints"));
  EXPECT_FALSE(std::filesystem::exists(job / "attempt-0001/step-00000009"));
  EXPECT_FALSE(std::filesystem::exists(job / "attempt-0002"));
  EXPECT_TRUE(std::filesystem::exists(job / first.saved.at(0).name()));
  EXPECT_TRUE(std::filesystem::exists(job / "attempt-0003/step-00000020"));
}

TEST_F(AttemptStartTest, ThePeakIsTrainingsOwnInAUsedProcessToo) {
  const std::int64_t peak = RunIn(folder_, AttemptOf()).ended.result().peak_memory_bytes();
  const AttemptSeen large =
      RunIn(folder_, AttemptOf("training { model { mlp { hidden: 2048 hidden: 2048 } } iterations: 2 }", 2));
  EXPECT_GT(large.ended.result().peak_memory_bytes(), peak + (std::int64_t{60} << 20)) << "16 bytes a parameter";
  const std::int64_t again = RunIn(folder_, AttemptOf("", 3)).ended.result().peak_memory_bytes();
  EXPECT_LT(again, large.ended.result().peak_memory_bytes());
}

}  // namespace
}  // namespace mantissa::trainer
