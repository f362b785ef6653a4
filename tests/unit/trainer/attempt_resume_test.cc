// Attempts that go on where another one stopped.
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/bits.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class AttemptResumeTest : public ::testing::Test {
 protected:
  // The second attempt of the job, resumed from what the first one saved, newest first.
  AttemptSeen Resume(const std::vector<v1::Checkpoint>& saved, const std::string& changes = "",
                     const AttemptConditions& conditions = {}) {
    v1::RunAttempt run = AttemptOf(changes, 2);
    for (auto i = saved.rbegin(); i != saved.rend(); ++i) *run.add_resume_from() = *i;
    return RunIn(folder_, run, conditions);
  }

  // The first one, stopped after `iterations`; returns its checkpoints, oldest first.
  std::vector<v1::Checkpoint> Begin(int iterations, const std::string& changes = "", std::int32_t threads = 1) {
    // Asked once before every iteration, and once where the run saves.
    FakeControl control(iterations + 1, /*checkpoint=*/true);
    return RunIn(folder_, AttemptOf(changes), {.control = &control, .threads = threads}).saved;
  }

  void Damage(const v1::Checkpoint& checkpoint) {
    RunFolder::Damage(folder_.checkpoints() / checkpoint.path() / "model.safetensors");
  }

  // The first event of this reason.
  static std::optional<v1::JobEvent> Find(const AttemptSeen& seen, const std::string& reason) {
    for (v1::JobEvent& event : seen.events()) {
      if (event.reason() == reason) return std::move(event);
    }
    return std::nullopt;
  }

  RunFolder folder_;
};

TEST_F(AttemptResumeTest, EndsWithTheBitsOfAnAttemptThatWasNotInterrupted) {
  for (const std::string mode : {"FP32", "BF16", "FP16"}) {
    const std::string job =
        "training { model { mlp { hidden: 4 dropout: 0.3 } } accumulation: 2 precision { mode: " + mode +
        " loss_scale { init: 1e9 growth_interval: 4 } } schedule { linear {} } }";
    const auto files = [](const AttemptSeen& seen) {
      std::map<std::string, std::string> files;
      for (const v1::Artifact& artifact : seen.ended.artifacts()) {
        if (artifact.name() != "MANIFEST.json") files[artifact.name()] = artifact.sha256();
      }
      return files;
    };
    RunFolder undisturbed;
    const AttemptSeen whole = RunIn(undisturbed, AttemptOf(job));
    ASSERT_EQ(whole.ended.state(), v1::Attempt::SUCCEEDED) << whole.ended.message();

    RunFolder folder;
    FakeControl control(14, /*checkpoint=*/true);  // in the seventh window
    const AttemptSeen first = RunIn(folder, AttemptOf(job), {.control = &control});
    ASSERT_EQ(first.ended.state(), v1::Attempt::CANCELLED);
    ASSERT_THAT(first.saved, SizeIs(1));
    v1::RunAttempt run = AttemptOf(job, 2);
    *run.add_resume_from() = first.saved.at(0);
    const AttemptSeen second = RunIn(folder, run);
    ASSERT_EQ(second.ended.state(), v1::Attempt::SUCCEEDED) << second.ended.message();

    EXPECT_THAT(files(whole), SizeIs(2));
    EXPECT_THAT(Differences(files(second), files(whole)), IsEmpty()) << mode;
    // The records of both, one after the other, are those of the whole. (Its phase is an attempt's own.)
    std::vector<v1::Segment> both = first.segments;
    both.insert(both.end(), second.segments.begin(), second.segments.end());
    auto records = RecordBits(both);
    auto expected = RecordBits(whole.segments);
    records.erase("PHASE");
    expected.erase("PHASE");
    EXPECT_THAT(Differences(records, expected), IsEmpty()) << mode;
    EXPECT_FALSE(Find(second, "RESUME_NOT_BITWISE").has_value());
  }
}

TEST_F(AttemptResumeTest, SaysFromWhereItGoesOn) {
  const AttemptSeen seen = Resume(Begin(5));
  EXPECT_EQ(seen.started.at(0).resumed_from(), "attempt-0001/step-00000005");
  EXPECT_EQ(seen.events().at(0).started().resumed_from_step(), 5);
  EXPECT_EQ(IntegersIn(seen.segments, v1::Column::ITERATION).at(0), 6);
  EXPECT_EQ(seen.saved.back().name(), "attempt-0002/step-00000020");
}

TEST_F(AttemptResumeTest, ADamagedCheckpointCostsOneGenerationAndIsReported) {
  const std::vector<v1::Checkpoint> saved = Begin(9, "training { checkpoint { every_steps: 4 } }");
  ASSERT_THAT(saved, SizeIs(2)) << "at 4 and, being asked twice there, at the stop";
  Damage(saved.back());
  const AttemptSeen seen = Resume(saved);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(seen.started.at(0).resumed_from(), saved.at(0).name());
  const std::optional<v1::JobEvent> damaged = Find(seen, "CHECKPOINT_DAMAGED");
  ASSERT_TRUE(damaged.has_value());
  EXPECT_EQ(damaged->severity(), v1::JobEvent::ERROR);
  EXPECT_THAT(damaged->message(), AllOf(HasSubstr(saved.at(1).name()), HasSubstr("model.safetensors")));
  EXPECT_EQ(seen.events().at(0).reason(), "TRAINING_STARTED") << "the start is said first";
}

TEST_F(AttemptResumeTest, WithoutAGoodCheckpointItFailsAndSaysWhatToDo) {
  const std::vector<v1::Checkpoint> saved = Begin(5);
  Damage(saved.at(0));
  const AttemptSeen seen = Resume(saved);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::CHECKPOINT_FAILED);
  EXPECT_THAT(seen.ended.message(), AllOf(HasSubstr("attempt-0001/step-00000005"), HasSubstr("repair the storage"),
                                          HasSubstr("retry.restart_without_checkpoint")));
}

TEST_F(AttemptResumeTest, ASpecThatAllowsItStartsAgain) {
  const std::vector<v1::Checkpoint> saved = Begin(5);
  Damage(saved.at(0));
  const AttemptSeen seen = Resume(saved, "retry { restart_without_checkpoint: true }");
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(seen.started.at(0).resumed_from(), "");
  EXPECT_EQ(IntegersIn(seen.segments, v1::Column::ITERATION).at(0), 1);
  EXPECT_TRUE(Find(seen, "CHECKPOINT_DAMAGED").has_value());
}

TEST_F(AttemptResumeTest, AnotherModelsCheckpointIsRefusedByTheNameOfItsTensor) {
  const AttemptSeen seen = Resume(Begin(5), "training { model { mlp { hidden: 5 } } }");
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::CHECKPOINT_FAILED);
  EXPECT_THAT(seen.ended.message(), HasSubstr("tensor "));
  EXPECT_THAT(seen.ended.message(), HasSubstr("another model or optimizer"));
}

TEST_F(AttemptResumeTest, AnotherOptimizersCheckpointIsRefused) {
  const AttemptSeen seen = Resume(Begin(5), "training { optimizer { sgd {} } }");
  EXPECT_EQ(seen.ended.reason(), v1::Reason::CHECKPOINT_FAILED);
  EXPECT_THAT(seen.ended.message(), HasSubstr("momentum.layers.0.weight"));
}

TEST_F(AttemptResumeTest, AnAttemptThatWasAtItsEndEndsAgain) {
  const AttemptSeen whole = RunIn(folder_, AttemptOf());
  const AttemptSeen seen = Resume(whole.saved);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_THAT(IntegersIn(seen.segments, v1::Column::ITERATION), IsEmpty());
  EXPECT_EQ(seen.ended.artifacts_size(), 3);
}

TEST_F(AttemptResumeTest, FollowsTheThreadsItWasSavedWith) {
  const std::vector<v1::Checkpoint> saved = Begin(5, "resources { cpu_threads: 2 }");
  const AttemptSeen seen = Resume(saved, "", {.threads = 2});
  EXPECT_EQ(seen.events().at(0).started().threads(), 2);
  EXPECT_FALSE(Find(seen, "RESUME_NOT_BITWISE").has_value());
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
}

TEST_F(AttemptResumeTest, WhatItCannotFollowIsAWarning) {
  const std::vector<v1::Checkpoint> saved = Begin(5, "resources { cpu_threads: 2 }");
  const AttemptSeen seen = Resume(saved, "", {.threads = 1});
  const std::optional<v1::JobEvent> warning = Find(seen, "RESUME_NOT_BITWISE");
  ASSERT_TRUE(warning.has_value());
  EXPECT_EQ(warning->severity(), v1::JobEvent::WARNING);
  EXPECT_EQ(warning->message(), "resumed, but the results may differ in their last bits: threads (was 2, is 1)");
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << "it goes on all the same";
}

TEST_F(AttemptResumeTest, DataThatChangedIsAWarning) {
  const AttemptSeen seen = Resume(Begin(5), "training { data { train { synthetic { samples: 40 } } } }");
  const std::optional<v1::JobEvent> warning = Find(seen, "RESUME_NOT_BITWISE");
  ASSERT_TRUE(warning.has_value());
  EXPECT_THAT(warning->message(), HasSubstr("windows_per_epoch (was 4, is 5: the data changed)"));
}

}  // namespace
}  // namespace mantissa::trainer
