#include "worker/trainer/run_checkpoints.h"

#include <limits>
#include <optional>
#include <string>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/tensor_type.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t kTime = 1'790'000'000'000'000'007;
constexpr char kSpec[] = "model { mlp { hidden: 4 } } precision { mode: FP16 loss_scale { growth_interval: 3 } } ";

using Generations = google::protobuf::RepeatedPtrField<v1::Checkpoint>;

class RunCheckpointsTest : public ::testing::Test {
 protected:
  RunCheckpoints Of(std::int32_t attempt = 1) const {
    return RunCheckpoints(folder_.checkpoint_root(), {.job_id = kJob,
                                                      .attempt = attempt,
                                                      .storage_id = "the-storage",
                                                      .windows_per_epoch = 4,
                                                      .execution_plan = {{"threads", "1"}},
                                                      .versions = {{"torch", "2.11.0"}}});
  }

  SavedCheckpoint SaveAt(std::int64_t iteration, bool final = false) {
    run_.TrainTo(iteration);
    auto saved = Of().Save(run_.state(), final, kTime);
    EXPECT_TRUE(saved.ok()) << saved.status();
    return *std::move(saved);
  }

  Generations NewestFirst(const std::vector<SavedCheckpoint>& saved) const {
    Generations generations;
    for (auto i = saved.rbegin(); i != saved.rend(); ++i) *generations.Add() = Of().Describe(*i);
    return generations;
  }

  RunFolder folder_;
  SmallRun run_{kSpec};
};

TEST_F(RunCheckpointsTest, WhatIsSavedIsTheStateBitByBit) {
  const SavedCheckpoint saved = SaveAt(5);
  const auto then = BitsOf(run_.state());
  run_.TrainTo(9);
  const auto loaded = Of(2).Load(NewestFirst({saved}));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->name, "attempt-0001/step-00000005");
  EXPECT_THAT(loaded->damaged, IsEmpty());
  ASSERT_TRUE(run_.state().Restore(loaded->snapshot).ok());
  EXPECT_THAT(Differences(BitsOf(run_.state()), then), IsEmpty());
}

TEST_F(RunCheckpointsTest, TheManifestSaysWhereTheRunStands) {
  RunSnapshot snapshot = run_.state().Snapshot();
  snapshot.step.iteration = 10;
  snapshot.step.step = 8;
  snapshot.step.loss_scale = 512;
  snapshot.step.growth_tracker = 2;
  snapshot.step.hysteresis_tracker = 3;
  snapshot.step.skips_in_row = 1;
  snapshot.lineage = 2;
  ASSERT_TRUE(run_.state().Restore(snapshot).ok());
  const auto saved = Of(7).Save(run_.state(), /*final=*/true, kTime);
  ASSERT_TRUE(saved.ok()) << saved.status();
  const Manifest& manifest = saved->manifest;
  EXPECT_EQ(manifest.job_id, kJob);
  EXPECT_EQ(manifest.attempt, 7);
  EXPECT_EQ(manifest.iteration, 10);
  EXPECT_EQ(manifest.step, 8);
  EXPECT_EQ(manifest.lineage, 2);
  EXPECT_TRUE(manifest.finite);
  EXPECT_TRUE(manifest.final);
  EXPECT_EQ(manifest.create_time_unix_nanos, kTime);
  EXPECT_EQ(manifest.scaler, (ScalerSnapshot{512, 2, 3, 1}));
  EXPECT_EQ(manifest.data_cursor, (DataCursor{2, 2, 4}));  // 10 windows are two epochs of four and two more
  EXPECT_EQ(manifest.execution_plan, (std::map<std::string, std::string>{{"threads", "1"}}));
  EXPECT_EQ(manifest.versions, (std::map<std::string, std::string>{{"torch", "2.11.0"}}));

  const auto loaded = Of(8).Load(NewestFirst({*saved}));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->snapshot.lineage, 2);
  EXPECT_EQ(loaded->snapshot.step.skips_in_row, 1);
  EXPECT_EQ(loaded->manifest, manifest);
}

TEST_F(RunCheckpointsTest, TheManifestSaysWhichPrecisionAndWhichWindowComeNext) {
  RunCheckpointOptions options = CheckpointsOf(kJob, 4);
  options.lineage.set_precision(v1::PrecisionSpec::BF16);
  v1::IndexRange& left_out = *options.lineage.add_skipped_windows();
  left_out.set_first(2);
  left_out.set_last(6);
  run_.TrainTo(3);
  const auto saved = RunCheckpoints(folder_.checkpoint_root(), options).Save(run_.state(), false, kTime);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->manifest.precision, "BF16");
  EXPECT_EQ(saved->manifest.data_cursor, (DataCursor{2, 0, 4}));  // after windows 0, 1 and 7 comes window 8
}

TEST_F(RunCheckpointsTest, GenerationZeroHoldsNoTensorsAndIsLoadedAsWhatItIs) {
  const auto saved = Of().SaveGenerationZero(run_.state(), 11, kTime);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->name, "attempt-0001/step-00000000");
  EXPECT_TRUE(saved->manifest.finite);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_.checkpoints() / saved->path), {}), 1);
  const auto loaded = Of(2).Load(NewestFirst({*saved}));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->manifest.initial, InitialState{11});
  EXPECT_THAT(loaded->snapshot.model, IsEmpty());
}

TEST_F(RunCheckpointsTest, AStateThatIsNotFiniteIsMarked) {
  run_.state().optimizer().flat_state()[0].tensor[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(SaveAt(0).manifest.finite);
}

TEST_F(RunCheckpointsTest, ADescriptionIsWhatTheServerKeeps) {
  const SavedCheckpoint saved = SaveAt(5, /*final=*/true);
  const v1::Checkpoint checkpoint = Of().Describe(saved);
  EXPECT_EQ(checkpoint.job_id(), kJob);
  EXPECT_EQ(checkpoint.attempt(), 1);
  EXPECT_EQ(checkpoint.name(), "attempt-0001/step-00000005");
  EXPECT_EQ(checkpoint.step(), 5);
  EXPECT_EQ(checkpoint.iteration(), 5);
  EXPECT_EQ(checkpoint.create_time().seconds(), 1'790'000'000);
  EXPECT_EQ(checkpoint.create_time().nanos(), 7);
  EXPECT_EQ(checkpoint.storage_id(), "the-storage");
  EXPECT_EQ(checkpoint.path(), saved.path);
  EXPECT_EQ(checkpoint.size_bytes(), saved.size_bytes);
  EXPECT_EQ(checkpoint.manifest_sha256(), saved.manifest_sha256);
  EXPECT_TRUE(checkpoint.finite());
  EXPECT_TRUE(checkpoint.final());
}

TEST_F(RunCheckpointsTest, ADamagedGenerationIsPassedOverAndNamed) {
  for (const std::string file : {"model.safetensors", "optimizer.safetensors", "MANIFEST.json"}) {
    const SavedCheckpoint older = SaveAt(run_.state().step_state().iteration + 1);
    const auto then = BitsOf(run_.state());
    const SavedCheckpoint newer = SaveAt(run_.state().step_state().iteration + 1);
    RunFolder::Damage(folder_.checkpoints() / newer.path / file);
    const auto loaded = Of().Load(NewestFirst({older, newer}));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ(loaded->name, older.name);
    ASSERT_THAT(loaded->damaged, SizeIs(1));
    EXPECT_THAT(loaded->damaged[0], AllOf(HasSubstr(newer.name), HasSubstr("cannot be used"), HasSubstr(file)));
    ASSERT_TRUE(run_.state().Restore(loaded->snapshot).ok());
    EXPECT_THAT(Differences(BitsOf(run_.state()), then), IsEmpty());
  }
}

TEST_F(RunCheckpointsTest, WhenNoneIsGoodEveryReasonIsSaid) {
  const SavedCheckpoint older = SaveAt(1);
  const SavedCheckpoint newer = SaveAt(2);
  RunFolder::Damage(folder_.checkpoints() / newer.path / "model.safetensors");
  std::filesystem::remove_all(folder_.checkpoints() / older.path);
  const auto loaded = Of().Load(NewestFirst({older, newer}));
  EXPECT_TRUE(absl::IsDataLoss(loaded.status()));
  EXPECT_THAT(std::string(loaded.status().message()),
              AllOf(HasSubstr("checkpoint attempt-0001/step-00000002 cannot be used"),
                    HasSubstr("checkpoint attempt-0001/step-00000001 cannot be used")));
}

TEST_F(RunCheckpointsTest, AnotherManifestThanTheCommittedOneIsRefused) {
  Generations generations = NewestFirst({SaveAt(1)});
  generations[0].set_manifest_sha256(std::string(64, '0'));
  EXPECT_TRUE(absl::IsDataLoss(Of().Load(generations).status()));
}

TEST_F(RunCheckpointsTest, AGenerationOfAnotherJobIsRefused) {
  Generations generations = NewestFirst({SaveAt(1)});
  const RunCheckpoints other(folder_.checkpoint_root(), CheckpointsOf("01j00000000000000000000001"));
  EXPECT_THAT(std::string(other.Load(generations).status().message()), HasSubstr("is not a checkpoint of job"));
}

TEST_F(RunCheckpointsTest, AGenerationThatLacksAFileIsPassedOver) {
  // Whole as a checkpoint, but not one of a run.
  Manifest facts;
  facts.job_id = kJob;
  facts.attempt = 1;
  const auto saved = CheckpointStore(folder_.checkpoint_root(), kJob).Save(facts, std::vector<CheckpointFile>{});
  ASSERT_TRUE(saved.ok()) << saved.status();
  const auto loaded = Of().Load(NewestFirst({*saved}));
  EXPECT_TRUE(absl::IsDataLoss(loaded.status()));
  EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("model.safetensors is not in the manifest"));
}

TEST_F(RunCheckpointsTest, AnotherModelsCheckpointIsRefusedByTheState) {
  const SavedCheckpoint saved = SaveAt(2);
  const auto loaded = Of().Load(NewestFirst({saved}));
  ASSERT_TRUE(loaded.ok());
  SmallRun wider("model { mlp { hidden: 5 } }");
  const absl::Status restored = wider.state().Restore(loaded->snapshot);
  EXPECT_TRUE(absl::IsFailedPrecondition(restored));
  EXPECT_THAT(std::string(restored.message()), HasSubstr("layers.0.weight"));
}

TEST(TensorTypeTest, EveryTypeOfAFileIsNamedThereAndBack) {
  for (const at::ScalarType type :
       {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kLong, at::kInt, at::kByte, at::kBool}) {
    const std::optional<TensorType> name = TypeOf(type);
    ASSERT_TRUE(name.has_value()) << type;
    EXPECT_EQ(ScalarTypeOf(*name), type);
  }
  EXPECT_EQ(TypeOf(at::kComplexFloat), std::nullopt);
}

}  // namespace
}  // namespace mantissa::trainer
