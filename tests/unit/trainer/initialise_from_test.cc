// Parameters from somebody else: all of them or none, every fault named at once.
#include "worker/trainer/initialise_from.h"

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/bits.h"
#include "tests/unit/trainer/run_folder.h"
#include "tests/unit/trainer/small_run.h"
#include "worker/trainer/tensor_type.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kModel[] = "model { mlp { hidden: 4 } }";

// Tensors of somebody's file, and the file.
class Source {
 public:
  void Set(const std::string& name, const at::Tensor& tensor) { tensors_[name] = tensor.contiguous(); }
  void Remove(const std::string& name) { tensors_.erase(name); }
  void Rename(const std::string& from, const std::string& to) {
    tensors_[to] = tensors_.at(from);
    tensors_.erase(from);
  }
  const at::Tensor& At(const std::string& name) const { return tensors_.at(name); }

  std::string File() const {
    std::vector<TensorView> views;
    for (const auto& [name, tensor] : tensors_) {
      views.push_back({name, *TypeOf(tensor.scalar_type()), tensor.sizes().vec(),
                       std::string_view(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes())});
    }
    std::string file = SafetensorsHeader(views, {}).value();
    for (const TensorView& view : views) file += view.bytes;
    return file;
  }

  static Source Of(RunState& state) {
    Source source;
    for (const NamedTensor& tensor : state.Snapshot().model) source.Set(tensor.name, tensor.tensor);
    return source;
  }

 private:
  std::map<std::string, at::Tensor> tensors_;
};

class InitialiseFromTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::string> Take(const Source& source) {
    const std::string file = source.File();
    const auto parsed = ParseSafetensors(file);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return TakeTensors(*parsed, init_from_, run_.state());
  }
  // What is said of a source that does not fit; nothing was taken from it.
  std::string Fault(const Source& source) {
    const auto before = BitsOf(run_.state());
    const auto taken = Take(source);
    EXPECT_TRUE(absl::IsFailedPrecondition(taken.status())) << taken.status();
    EXPECT_THAT(Differences(BitsOf(run_.state()), before), IsEmpty());
    return std::string(taken.status().message());
  }
  std::map<std::string, std::string> Parameters(SmallRun& run) {
    std::map<std::string, std::string> bits;
    for (const NamedTensor& tensor : run.state().View().model) bits[tensor.name] = BytesIn(tensor.tensor);
    return bits;
  }

  SmallRun run_{kModel};
  SmallRun other_{std::string(kModel) + " seed: 9"};
  Source source_ = Source::Of(other_.state());
  v1::InitFrom init_from_;
};

TEST_F(InitialiseFromTest, TakesExactlyTheParametersAndNothingElse) {
  other_.TrainTo(10);
  const auto before = BitsOf(run_.state());
  const auto taken = Take(Source::Of(other_.state()));
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(*taken, "");
  EXPECT_EQ(Parameters(run_), Parameters(other_));
  auto after = BitsOf(run_.state());
  for (const auto& [name, bits] : Parameters(run_)) after[name] = before.at(name);
  EXPECT_THAT(Differences(after, before), IsEmpty()) << "moments, counters and scaler begin as ever";
}

TEST_F(InitialiseFromTest, ConvertsFloatsToFp32AndSaysSo) {
  source_.Set("head.bias", at::tensor({1.5f, 2.0f, -0.25f}).to(at::kHalf));
  source_.Set("layers.0.bias", at::tensor({1.0f, 2.0f, 3.0f, 4.0f}).to(at::kBFloat16));
  source_.Set("head.weight", source_.At("head.weight").to(at::kDouble));
  const auto taken = Take(source_);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(*taken,
            " (1 tensor converted from BF16 to F32, 1 tensor converted from F16 to F32, 1 tensor converted from F64 to "
            "F32)");
  const ParameterBuffer& parameters = run_.state().model().parameters();
  EXPECT_TRUE(at::equal(parameters.at("head.bias"), at::tensor({1.5f, 2.0f, -0.25f})));
  EXPECT_TRUE(at::equal(parameters.at("head.weight"), other_.state().model().parameters().at("head.weight")));
}

TEST_F(InitialiseFromTest, RenamesTheSourcesNames) {
  source_.Rename("head.weight", "classifier.weight");
  source_.Rename("head.bias", "classifier.bias");
  (*init_from_.mutable_rename())["classifier.weight"] = "head.weight";
  (*init_from_.mutable_rename())["classifier.bias"] = "head.bias";
  ASSERT_TRUE(Take(source_).ok());
  EXPECT_EQ(Parameters(run_), Parameters(other_));
}

TEST_F(InitialiseFromTest, NamesEveryFaultAtOnceWithWhatWasProbablyMeant) {
  source_.Rename("head.weight", "heads.weight");
  source_.Set("layers.0.bias", at::zeros({5}));
  source_.Set("layers.0.weight", at::zeros({4, 6}, at::kInt));
  source_.Set("extra", at::zeros({1}));
  (*init_from_.mutable_rename())["haed.bias"] = "x";
  const std::string fault = Fault(source_);
  EXPECT_THAT(fault, AllOf(HasSubstr("training.init_from: "),
                           HasSubstr("rename names haed.bias, which the source does not have (nearest in the source: "
                                     "head.bias)"),
                           HasSubstr("head.weight [3, 4] is missing (nearest in the source: heads.weight)"),
                           HasSubstr("layers.0.bias is [4] here and [5] in the source"),
                           HasSubstr("layers.0.weight is I32 in the source and Float here"),
                           HasSubstr("extra is not a tensor of the model")));
  EXPECT_THAT(fault, AllOf(HasSubstr("heads.weight is not a tensor of the model (nearest in the model: head.weight)"),
                           HasSubstr("training.init_from.rename"), Not(HasSubstr("more"))));
}

TEST_F(InitialiseFromTest, NamesAtMostSixteen) {
  for (int i = 0; i < 40; ++i) source_.Set("extra." + std::to_string(i), at::zeros({1}));
  EXPECT_THAT(Fault(source_), HasSubstr("; and 24 more. Every tensor"));
}

TEST_F(InitialiseFromTest, TwoOfTheSourceCannotBecomeOneOfOurs) {
  source_.Set("other.bias", at::zeros({3}));
  (*init_from_.mutable_rename())["other.bias"] = "head.bias";
  EXPECT_THAT(Fault(source_), HasSubstr("head.bias and other.bias both become head.bias"));
}

TEST_F(InitialiseFromTest, WhatIsNotFiniteInFp32IsRefused) {
  source_.Set("head.bias", at::tensor({1e300, 0.0, 0.0}, at::kDouble));
  EXPECT_THAT(Fault(source_), HasSubstr("head.bias holds Inf or NaN"));
  source_.Set("head.bias", at::full({3}, std::nanf("")));
  EXPECT_THAT(Fault(source_), HasSubstr("head.bias holds Inf or NaN"));
}

class InitialFileTest : public InitialiseFromTest {
 protected:
  absl::StatusOr<std::string> From(const v1::Checkpoint* checkpoint = nullptr,
                                   std::int64_t max_bytes = std::int64_t{1} << 30) {
    return InitialiseFrom(init_from_, {folder_.roots(), folder_.checkpoint_root(), checkpoint, max_bytes},
                          run_.state());
  }

  RunFolder folder_;
};

TEST_F(InitialFileTest, OurOwnModelFileGivesExactlyItsParameters) {
  other_.TrainTo(7);
  const RunCheckpoints checkpoints(folder_.checkpoint_root(), CheckpointsOf("01j00000000000000000000009"));
  const auto saved = checkpoints.Save(other_.state(), true, 1);
  ASSERT_TRUE(saved.ok()) << saved.status();
  init_from_.set_path("checkpoints:" + saved->path + "/model.safetensors");
  const auto by_path = From();
  ASSERT_TRUE(by_path.ok()) << by_path.status();
  EXPECT_EQ(*by_path, "parameters from " + init_from_.path());
  EXPECT_EQ(Parameters(run_), Parameters(other_));

  SmallRun again(kModel);
  const v1::Checkpoint checkpoint = checkpoints.Describe(*saved);
  v1::InitFrom of_job;
  of_job.set_job_id(checkpoint.job_id());
  const auto by_job = InitialiseFrom(
      of_job, {folder_.roots(), folder_.checkpoint_root(), &checkpoint, std::int64_t{1} << 30}, again.state());
  ASSERT_TRUE(by_job.ok()) << by_job.status();
  EXPECT_EQ(*by_job,
            "parameters from checkpoint attempt-0001/step-00000007 (step 7) of job 01j00000000000000000000009");
  EXPECT_EQ(Parameters(again), Parameters(other_));
}

TEST_F(InitialFileTest, AFileThatIsNoneOrDamagedOrTooLargeIsRefusedByItsField) {
  init_from_.set_path("missing.safetensors");
  EXPECT_TRUE(absl::IsNotFound(From().status()));
  RunFolder::Write(folder_.data() / "text", "not tensors");
  init_from_.set_path("text");
  const absl::Status text = From().status();
  EXPECT_TRUE(absl::IsInvalidArgument(text));
  EXPECT_THAT(std::string(text.message()), HasSubstr("training.init_from.path: safetensors: "));
  const std::string file = source_.File();
  for (std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{40}, file.size() - 1}) {
    RunFolder::Write(folder_.data() / "cut", file.substr(0, size));
    init_from_.set_path("cut");
    EXPECT_TRUE(absl::IsInvalidArgument(From().status())) << size;
  }
  RunFolder::Write(folder_.data() / "whole", file);
  init_from_.set_path("whole");
  EXPECT_TRUE(absl::IsResourceExhausted(From(nullptr, 16).status()));
  EXPECT_TRUE(From().ok());
}

TEST_F(InitialFileTest, AnotherJobsCheckpointIsVerifiedAndItsAbsenceExplained) {
  init_from_.set_job_id("01j00000000000000000000009");
  const absl::Status absent = From().status();
  EXPECT_TRUE(absl::IsNotFound(absent));
  EXPECT_THAT(std::string(absent.message()), HasSubstr("is not on this worker's storage"));
  const RunCheckpoints checkpoints(folder_.checkpoint_root(), CheckpointsOf(init_from_.job_id()));
  const auto saved = checkpoints.Save(other_.state(), true, 1);
  ASSERT_TRUE(saved.ok());
  const v1::Checkpoint checkpoint = checkpoints.Describe(*saved);
  RunFolder::Damage(folder_.checkpoints() / saved->path / "optimizer.safetensors");
  EXPECT_TRUE(From(&checkpoint).ok()) << "moments are not read";
  RunFolder::Damage(folder_.checkpoints() / saved->path / "model.safetensors");
  const absl::Status damaged = From(&checkpoint).status();
  EXPECT_TRUE(absl::IsDataLoss(damaged));
  EXPECT_THAT(std::string(damaged.message()),
              AllOf(HasSubstr("training.init_from: checkpoint attempt-0001/step-00000000 of job"),
                    HasSubstr("model.safetensors is damaged"), HasSubstr("name another step")));
}

}  // namespace
}  // namespace mantissa::trainer
