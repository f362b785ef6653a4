// Attempts of jobs whose precision fails: how they end, and how the next one starts from the lineage that it is given.
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/spec/defaults.h"
#include "proto/spec/lineage.h"
#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/bits.h"

namespace mantissa::trainer {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// 2^24 overflows, and so does the floor.
constexpr char kHostileFloor[] = "mode: FP16 loss_scale { init: 16777216 min: 4194304 }";

std::string Training(const std::string& precision, const std::string& more = "") {
  return "training { precision { " + precision + " } " + more + " }";
}

class AttemptLineageTest : public ::testing::Test {
 protected:
  AttemptSeen Run(const std::string& changes) { return RunIn(folder_, AttemptOf(changes)); }

  // The next attempt, in `lineage`, resumed from `checkpoint`. With `stop` it ends before its first iteration, with a
  // checkpoint: what it started from.
  AttemptSeen Next(const std::string& changes, const v1::Lineage& lineage, const v1::Checkpoint* checkpoint,
                   bool stop = false) {
    v1::RunAttempt run = AttemptOf(changes, 2);
    *run.mutable_lineage() = lineage;
    if (checkpoint != nullptr) *run.add_resume_from() = *checkpoint;
    FakeControl at_once(1, /*checkpoint=*/true);
    return RunIn(folder_, run, {.control = stop ? &at_once : nullptr});
  }

  // What the server makes of an attempt that ended with an intervention.
  static v1::Lineage After(const AttemptSeen& seen, const v1::RunAttempt& run, const std::string& checkpoint) {
    EXPECT_TRUE(seen.ended.has_intervention()) << seen.ended.ShortDebugString();
    const v1::JobSpec spec = spec::ResolveDefaults(run.spec());
    const v1::Lineage lineage = run.has_lineage() ? run.lineage() : spec::FirstLineage(spec.training().precision());
    return spec::NextLineage(lineage, seen.ended.intervention(), checkpoint);
  }
  static v1::Lineage After(const AttemptSeen& seen, const std::string& changes, const std::string& checkpoint) {
    return After(seen, AttemptOf(changes), checkpoint);
  }

  std::string Bytes(const v1::Checkpoint& checkpoint, const std::string& file) const {
    return RunFolder::Read(folder_.checkpoints() / checkpoint.path() / file);
  }
  Manifest ManifestOf(const v1::Checkpoint& checkpoint) const {
    const auto manifest = ParseManifest(Bytes(checkpoint, "MANIFEST.json"));
    EXPECT_TRUE(manifest.ok()) << manifest.status();
    return manifest.value_or(Manifest());
  }
  static std::vector<std::string> Names(const AttemptSeen& seen) {
    std::vector<std::string> names;
    for (const v1::Checkpoint& checkpoint : seen.saved) names.push_back(checkpoint.name());
    return names;
  }

  RunFolder folder_;
};

TEST_F(AttemptLineageTest, AJobThatMayHaveToGoBackSavesItsBeginningFirst) {
  const AttemptSeen seen = Run(Training("mode: FP32 on_failure: ROLLBACK", "seed: 18446744073709551615"));
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_THAT(Names(seen), ElementsAre("attempt-0001/step-00000000", "attempt-0001/step-00000020"));
  EXPECT_TRUE(seen.saved.at(0).finite());
  EXPECT_EQ(seen.saved.at(0).iteration(), 0);
  const Manifest manifest = ManifestOf(seen.saved.at(0));
  ASSERT_TRUE(manifest.initial.has_value());
  EXPECT_EQ(manifest.initial->seed, 18446744073709551615u);
  EXPECT_THAT(manifest.files, IsEmpty()) << "its tensors are rebuilt from the seed";
  EXPECT_EQ(manifest.precision, "FP32");
  const std::vector<std::string> reasons = ReasonsOf(seen.events());
  EXPECT_THAT(reasons, ElementsAre("TRAINING_STARTED", "CHECKPOINT_SAVED", "CHECKPOINT_SAVED"));
  EXPECT_TRUE(seen.segments.at(1).has_event()) << "before the first record";
}

TEST_F(AttemptLineageTest, AJobThatOnlyFailsDoesNot) {
  for (const char* on_failure : {"FAIL", "CLAMP"}) {
    EXPECT_THAT(Names(Run(Training(std::string("mode: FP32 on_failure: ") + on_failure))), SizeIs(1));
    std::filesystem::remove_all(folder_.checkpoints() / kJob);
  }
}

TEST_F(AttemptLineageTest, WithoutItsBeginningSavedNothingIsTrained) {
  RunFolder::Write(folder_.checkpoints() / kJob, "in the way");
  const AttemptSeen seen = Run(Training("mode: FP32 on_failure: ROLLBACK"));
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::CHECKPOINT_FAILED);
  EXPECT_EQ(seen.ended.result().iterations(), 0);
}

TEST_F(AttemptLineageTest, FromGenerationZeroARunIsTheVeryRunFromTheSeed) {
  const std::string changes = Training("mode: FP32 on_failure: ROLLBACK", "seed: 3");
  const AttemptSeen first = Run(changes);
  v1::Lineage lineage = spec::FirstLineage(spec::ResolveDefaults(AttemptOf(changes).spec()).training().precision());
  const AttemptSeen again = Next(changes, lineage, &first.saved.at(0));
  EXPECT_EQ(again.started.at(0).resumed_from(), "attempt-0001/step-00000000");
  EXPECT_THAT(Names(again), ElementsAre("attempt-0002/step-00000020")) << "there is one already";
  EXPECT_EQ(Bytes(again.saved.back(), "model.safetensors"), Bytes(first.saved.back(), "model.safetensors"));
}

TEST_F(AttemptLineageTest, ADamagedGenerationZeroIsRebuiltAndReported) {
  const std::string changes = Training("mode: FP32 on_failure: ROLLBACK");
  const AttemptSeen first = Run(changes);
  RunFolder::Damage(folder_.checkpoints() / first.saved.at(0).path() / "MANIFEST.json");
  v1::RunAttempt run = AttemptOf(changes, 2);
  *run.add_resume_from() = first.saved.at(0);
  const AttemptSeen again = RunIn(folder_, run);
  EXPECT_EQ(again.ended.state(), v1::Attempt::SUCCEEDED) << again.ended.message();
  EXPECT_THAT(ReasonsOf(again.events()), Contains("CHECKPOINT_DAMAGED"));
  EXPECT_THAT(Names(again), ElementsAre("attempt-0002/step-00000000", "attempt-0002/step-00000020"));
  EXPECT_EQ(Bytes(again.saved.back(), "model.safetensors"), Bytes(first.saved.back(), "model.safetensors"));
}

TEST_F(AttemptLineageTest, GenerationZeroOfAnotherSeedIsRefused) {
  const AttemptSeen first = Run(Training("mode: FP32 on_failure: ROLLBACK"));
  v1::RunAttempt run = AttemptOf(Training("mode: FP32 on_failure: ROLLBACK", "seed: 9"), 2);
  *run.add_resume_from() = first.saved.at(0);
  const AttemptSeen again = RunIn(folder_, run);
  EXPECT_EQ(again.ended.reason(), v1::Reason::CHECKPOINT_FAILED);
  EXPECT_THAT(again.ended.message(), HasSubstr("training.seed is 9"));
}

TEST_F(AttemptLineageTest, AFallbackSavesItsStateAndAsksForTheNextPrecision) {
  const std::string changes = Training(std::string(kHostileFloor) + " fallback: [BF16, FP32]");
  const AttemptSeen seen = Run(changes);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::SCALE_AT_MINIMUM);
  const v1::Intervention& intervention = seen.ended.intervention();
  EXPECT_EQ(intervention.kind(), v1::Intervention::FALLBACK);
  EXPECT_EQ(intervention.from_precision(), v1::PrecisionSpec::FP16);
  EXPECT_EQ(intervention.to_precision(), v1::PrecisionSpec::BF16);
  EXPECT_EQ(intervention.iterations().first(), 1);
  EXPECT_EQ(intervention.iterations().last(), 3);
  EXPECT_THAT(Names(seen), ElementsAre("attempt-0001/step-00000000", "attempt-0001/step-00000000-iteration-00000003"));

  const AttemptSeen next = Next(changes, After(seen, changes, seen.saved.back().name()), &seen.saved.back());
  EXPECT_EQ(next.ended.state(), v1::Attempt::SUCCEEDED) << next.ended.message();
  EXPECT_EQ(next.ended.result().precision(), v1::PrecisionSpec::BF16);
  EXPECT_FALSE(next.ended.result().has_loss_scale());
  EXPECT_EQ(next.events().at(0).started().precision(), v1::PrecisionSpec::BF16);
  const std::vector<std::int64_t> iterations = IntegersIn(next.segments, v1::Column::ITERATION);
  ASSERT_THAT(iterations, SizeIs(17));
  EXPECT_EQ(iterations.front(), 4) << "no window twice";
  EXPECT_THAT(IntegersIn(next.segments, v1::Column::LINEAGE), Each(2));
}

TEST_F(AttemptLineageTest, AFallbackKeepsParametersAndMomentsToTheLastBit) {
  const std::string changes = Training("mode: FP16 loss_scale { init: 64 } fallback: BF16");
  FakeControl control(10, /*checkpoint=*/true);
  const AttemptSeen first = RunIn(folder_, AttemptOf(changes), {.control = &control});
  const v1::Checkpoint& saved = first.saved.back();
  ASSERT_GT(saved.step(), 3) << "else there were no moments to keep";
  ASSERT_EQ(ManifestOf(saved).scaler.loss_scale, 64);
  v1::Lineage lineage;
  lineage.set_number(2);
  lineage.set_precision(v1::PrecisionSpec::BF16);
  lineage.set_learning_rate_factor(1);
  const AttemptSeen next = Next(changes, lineage, &saved, /*stop=*/true);
  ASSERT_THAT(next.saved, SizeIs(1));
  for (const std::string file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_EQ(Bytes(next.saved.at(0), file), Bytes(saved, file)) << file;
  }
  const Manifest manifest = ManifestOf(next.saved.at(0));
  EXPECT_EQ(manifest.precision, "BF16");
  EXPECT_EQ(manifest.lineage, 2);
  EXPECT_EQ(manifest.scaler.loss_scale, 1);
  EXPECT_EQ(manifest.iteration, saved.iteration());
  // And the rate goes on where it was.
  const AttemptSeen whole = Next(changes, lineage, &saved);
  EXPECT_THAT(DoublesIn(whole.segments.at(1).records(), v1::Column::LEARNING_RATE), ElementsAre(1e-3));
}

TEST_F(AttemptLineageTest, ARollbackSavesNothingAndStartsFromTheBitsOfItsCheckpoint) {
  // Every step doubles the weights, until the loss leaves FP32. At half the rate every step halves them.
  const std::string changes =
      Training("mode: FP32 on_failure: ROLLBACK",
               "optimizer { sgd { learning_rate: 3 momentum: 0 weight_decay: 1 } } iterations: 200 "
               "checkpoint { every_steps: 25 keep: 1000 }");
  const AttemptSeen seen = Run(changes);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::NUMERIC_FAILURE) << seen.ended.message();
  ASSERT_TRUE(seen.ended.has_intervention());
  EXPECT_EQ(seen.ended.intervention().kind(), v1::Intervention::ROLLBACK);
  const v1::IndexRange& trouble = seen.ended.intervention().iterations();
  EXPECT_EQ(trouble.last() - trouble.first() + 1, 50);
  EXPECT_EQ(trouble.last(), seen.ended.result().iterations());
  ASSERT_GT(seen.saved.size(), 2u) << "else there is nothing between the beginning and the trouble";
  EXPECT_LT(seen.saved.back().iteration(), trouble.first()) << "nothing was saved at the trouble";
  const v1::Checkpoint* start = nullptr;
  for (const v1::Checkpoint& checkpoint : seen.saved) {
    if (checkpoint.finite() && checkpoint.iteration() > 0) start = &checkpoint;
  }
  ASSERT_NE(start, nullptr);

  const v1::Lineage lineage = After(seen, changes, start->name());
  const AttemptSeen stopped = Next(changes, lineage, start, /*stop=*/true);
  ASSERT_THAT(stopped.saved, SizeIs(1));
  EXPECT_EQ(stopped.saved.at(0).iteration(), start->iteration());
  for (const std::string file : {"model.safetensors", "optimizer.safetensors"}) {
    EXPECT_EQ(Bytes(stopped.saved.at(0), file), Bytes(*start, file)) << file;
  }
  EXPECT_EQ(ManifestOf(stopped.saved.at(0)).scaler.skips_in_row, 0);

  std::filesystem::remove_all(folder_.checkpoints() / kJob / "attempt-0002");
  const AttemptSeen next = Next(changes, lineage, start);
  EXPECT_EQ(next.ended.state(), v1::Attempt::SUCCEEDED) << next.ended.message();
  EXPECT_EQ(IntegersIn(next.segments, v1::Column::ITERATION).at(0), start->iteration() + 1);
  EXPECT_EQ(IntegersIn(next.segments, v1::Column::LINEAGE).at(0), 2);
  for (const v1::Segment& segment : next.segments) {
    EXPECT_THAT(DoublesIn(segment.records(), v1::Column::LEARNING_RATE), Each(1.5));
  }
}

TEST_F(AttemptLineageTest, TheWindowsOfTheTroubleAreLeftOut) {
  const std::string changes = Training("mode: FP32 on_failure: ROLLBACK", "iterations: 6 max_grad_norm: 0");
  v1::Lineage lineage;
  lineage.set_number(2);
  lineage.set_precision(v1::PrecisionSpec::FP32);
  lineage.set_learning_rate_factor(0.5);
  v1::IndexRange& left_out = *lineage.add_skipped_windows();
  left_out.set_first(0);
  left_out.set_last(1);
  const AttemptSeen seen = Next(changes, lineage, nullptr);
  ASSERT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_THAT(IntegersIn(seen.segments, v1::Column::ITERATION), ElementsAre(1, 2, 3, 4, 5, 6))
      << "the length stays: windows consumed are counted";
  // Windows 2 to 7: the second epoch of four windows is used up.
  EXPECT_EQ(ManifestOf(seen.saved.back()).data_cursor, (DataCursor{2, 0, 4}));
  // The untrained model's loss on window 2, which another run sees first when it leaves out nothing but is given that
  // window as its first: not what the first window gives.
  const AttemptSeen all = Run(changes);
  EXPECT_NE(DoublesIn(seen.segments.at(2).records(), v1::Column::LOSS).at(0),
            DoublesIn(all.segments.at(2).records(), v1::Column::LOSS).at(0));
}

TEST_F(AttemptLineageTest, WhatCannotBeHelpedSaysWhyAndAsksForNothing) {
  const AttemptSeen clamped = Run(Training(std::string(kHostileFloor) + " on_failure: CLAMP", "iterations: 90"));
  EXPECT_EQ(clamped.ended.reason(), v1::Reason::NUMERIC_FAILURE);
  EXPECT_FALSE(clamped.ended.has_intervention());
  EXPECT_EQ(clamped.ended.result().iterations(), 50) << "it goes on at the floor, and the 50 end it";

  std::filesystem::remove_all(folder_.checkpoints() / kJob);
  const std::string changes = Training(std::string(kHostileFloor) + " on_failure: ROLLBACK");
  const AttemptSeen first = Run(changes);
  const AttemptSeen second = Next(changes, After(first, changes, ""), &first.saved.at(0));
  EXPECT_EQ(second.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(second.ended.reason(), v1::Reason::SCALE_AT_MINIMUM);
  EXPECT_FALSE(second.ended.has_intervention());
  EXPECT_THAT(second.ended.message(), HasSubstr("the same iterations failed again, and there is no fallback"));
  EXPECT_THAT(second.ended.message(), HasSubstr("is kept in checkpoint"));
}

}  // namespace
}  // namespace mantissa::trainer
