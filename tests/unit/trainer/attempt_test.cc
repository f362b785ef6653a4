#include "worker/trainer/attempt.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/data/data_folder.h"
#include "tests/unit/trainer/attempt_run.h"
#include "tests/unit/trainer/bits.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/checkpoint/manifest.h"
#include "worker/checkpoint/sha256.h"
#include "worker/trainer/machine/host.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// Reads 12 images of 2 x 2 from files, in 3 classes.
constexpr char kFiles[] =
    "training { data { train { idx { images: 'images.idx' labels: 'labels.idx' full_scale: 16 } } } "
    "batch_size: 4 epochs: 5 }";

class AttemptTest : public ::testing::Test {
 protected:
  AttemptSeen Run(const std::string& changes = "", const AttemptConditions& conditions = {}) {
    return RunIn(folder_, AttemptOf(changes), conditions);
  }

  void WriteImages(std::uint32_t count) {
    std::string labels;
    for (std::uint32_t i = 0; i < count; ++i) labels.push_back(static_cast<char>(i % 3));
    RunFolder::Write(folder_.data() / "images.idx", IdxBytes({count, 2, 2}, std::string(count * 4, '\x07')));
    RunFolder::Write(folder_.data() / "labels.idx", IdxBytes({count}, labels));
  }

  // Of an attempt that failed without a word but its end.
  void ExpectFailed(const AttemptSeen& seen, v1::Reason::Code reason) {
    EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
    EXPECT_EQ(v1::Reason::Code_Name(seen.ended.reason()), v1::Reason::Code_Name(reason)) << seen.ended.message();
    EXPECT_FALSE(seen.ended.reusable());
    EXPECT_THAT(seen.started, IsEmpty());
    EXPECT_THAT(seen.segments, IsEmpty());
    EXPECT_EQ(seen.ended.last_attempt_sequence(), 0);
  }

  RunFolder folder_;
};

TEST_F(AttemptTest, AGoodSpecOnSyntheticDataIsTrainedToItsEnd) {
  const AttemptSeen seen = Run();
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(seen.ended.reason(), v1::Reason::COMPLETED);
  EXPECT_EQ(seen.ended.message(), "trained 20 iterations, 20 applied");
  EXPECT_TRUE(seen.ended.reusable());
  EXPECT_EQ(seen.ended.result().iterations(), 20);
  EXPECT_EQ(seen.ended.result().precision(), v1::PrecisionSpec::FP32);
  EXPECT_THAT(IntegersIn(seen.segments, v1::Column::ITERATION), SizeIs(20));
}

TEST_F(AttemptTest, ItSaysThatItStartedBeforeAnythingElse) {
  const AttemptSeen seen = Run("resources { cpu_threads: 2 }");
  ASSERT_THAT(seen.started, SizeIs(1));
  EXPECT_EQ(seen.started.at(0).job_id(), kJob);
  EXPECT_EQ(seen.started.at(0).attempt(), 1);
  EXPECT_EQ(seen.started.at(0).total_iterations(), 20);
  EXPECT_EQ(seen.started.at(0).resumed_from(), "");
  ASSERT_TRUE(seen.segments.at(0).event().has_started());
  const v1::TrainingStarted& started = seen.segments.at(0).event().started();
  EXPECT_EQ(started.device(), "cpu");
  EXPECT_EQ(started.precision(), v1::PrecisionSpec::FP32);
  EXPECT_EQ(started.threads(), 2);
  EXPECT_EQ(at::get_num_threads(), 2) << "and these are the threads it ran with";
  EXPECT_EQ(started.parameter_count(), 6 * 4 + 4 + 4 * 3 + 3);
  EXPECT_EQ(started.total_iterations(), 20);
  EXPECT_EQ(started.windows_per_epoch(), 4);
  EXPECT_EQ(started.resumed_from_step(), 0);
  EXPECT_FALSE(started.torch_version().empty());
  EXPECT_EQ(started.cpu_capability(), CpuCapability());
}

TEST_F(AttemptTest, ItsArtifactsAreTheFilesOfTheLastCheckpoint) {
  const AttemptSeen seen = Run();
  ASSERT_EQ(seen.ended.artifacts_size(), 3);
  ASSERT_EQ(seen.ended.artifact_paths_size(), 3);
  std::vector<std::string> names;
  for (int i = 0; i < 3; ++i) {
    const v1::Artifact& artifact = seen.ended.artifacts(i);
    names.push_back(artifact.name());
    EXPECT_EQ(seen.ended.artifact_paths(i), absl::StrCat(kJob, "/attempt-0001/step-00000020/", artifact.name()));
    const std::string bytes = RunFolder::Read(folder_.checkpoints() / seen.ended.artifact_paths(i));
    EXPECT_EQ(artifact.size_bytes(), static_cast<std::int64_t>(bytes.size()));
    EXPECT_EQ(artifact.sha256(), Sha256Hex(bytes));
    EXPECT_EQ(artifact.create_time().seconds(), 1767225600);  // the clock stands still
  }
  EXPECT_THAT(names, ElementsAre("model.safetensors", "optimizer.safetensors", "MANIFEST.json"));
}

TEST_F(AttemptTest, ACheckpointIsAnnouncedWithTheStorageItIsOnAndRemembersHowItWasMade) {
  const AttemptSeen seen = Run();
  ASSERT_THAT(seen.saved, SizeIs(1));
  EXPECT_EQ(seen.saved.at(0).storage_id(), "the-storage");
  EXPECT_EQ(seen.saved.at(0).name(), "attempt-0001/step-00000020");
  const auto manifest =
      ParseManifest(RunFolder::Read(folder_.checkpoints() / seen.saved.at(0).path() / "MANIFEST.json"));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->execution_plan.at("threads"), "1");
  EXPECT_EQ(manifest->execution_plan.at("micro_batch"), "8");
  EXPECT_EQ(manifest->versions.at("mantissa"), "1.2.3");
  EXPECT_EQ(manifest->data_cursor, (DataCursor{5, 0, 4}));
}

TEST_F(AttemptTest, ASpecOfModelAndDataAloneIsEnough) {
  v1::RunAttempt run;
  run.set_job_id(kJob);
  run.set_attempt(1);
  run.mutable_spec()->mutable_training()->mutable_model()->mutable_mlp();
  run.mutable_spec()->mutable_training()->mutable_data()->mutable_train()->mutable_synthetic();
  const AttemptSeen seen = RunIn(folder_, run);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(seen.ended.result().precision(), v1::PrecisionSpec::BF16);
  EXPECT_EQ(seen.ended.result().iterations(), 64);  // 4096 samples in windows of 64
}

TEST_F(AttemptTest, OnlyFp16HasALossScale) {
  EXPECT_THAT(RecordBits(Run().segments), Not(Contains(::testing::Key("LOSS_SCALE"))));
  const AttemptSeen scaled = RunIn(folder_, AttemptOf("training { precision { mode: FP16 } }", 2));
  EXPECT_THAT(RecordBits(scaled.segments), Contains(::testing::Key("LOSS_SCALE")));
  EXPECT_EQ(scaled.ended.result().loss_scale(), 65536);
}

TEST_F(AttemptTest, RecordsComeAsOftenAsTheSpecSays) {
  EXPECT_THAT(IntegersIn(Run("training { telemetry { every_iterations: 6 } }").segments, v1::Column::ITERATION),
              ElementsAre(6, 12, 18));
}

TEST_F(AttemptTest, RangesComeAsOftenAsTheSpecSays) {
  const auto ranges = [&](int every, std::int32_t attempt) {
    std::vector<std::int32_t> iterations;
    const std::string changes = absl::StrCat("training { telemetry { ranges_every_iterations: ", every, " } }");
    for (const v1::JobEvent& event : RunIn(folder_, AttemptOf(changes, attempt)).events()) {
      if (!event.has_ranges()) continue;
      iterations.push_back(event.iteration());
      EXPECT_EQ(event.ranges().modules_size(), 2);
      EXPECT_EQ(event.ranges().modules(1).module(), "head");
      EXPECT_GT(event.ranges().modules(1).gradient().max(), 0);
      EXPECT_EQ(event.ranges().format(), v1::PrecisionSpec::FP32);
      EXPECT_FALSE(event.ranges().has_loss_scale());
    }
    return iterations;
  };
  // The host looks at iterations by the slice: with a clock that stands still, at all of them at once.
  EXPECT_THAT(ranges(6, 1), ElementsAre(20));
  EXPECT_THAT(ranges(0, 2), IsEmpty());
}

TEST_F(AttemptTest, EvaluatesAsOftenAsTheSpecSays) {
  const std::string held_out = "training { data { eval { synthetic { samples: 8 shape: 6 classes: 3 seed: 1 } } } ";
  const auto evaluations = [&](const std::string& changes, std::int32_t attempt) {
    std::vector<std::int32_t> steps;
    for (const v1::JobEvent& event : RunIn(folder_, AttemptOf(held_out + changes, attempt)).events()) {
      if (event.has_evaluation()) steps.push_back(event.evaluation().step());
    }
    return steps;
  };
  EXPECT_THAT(evaluations("evaluation { every_steps: 8 } }", 1), ElementsAre(8, 16, 20));
  EXPECT_THAT(evaluations("evaluation { every_steps: 0 } }", 2), ElementsAre(20));
  EXPECT_THAT(evaluations("}", 3), ElementsAre(2, 4, 6, 8, 10, 12, 14, 16, 18, 20)) << "about ten times";
}

TEST_F(AttemptTest, EvaluatesAboutTenTimesWhereOnlyTheFilesTellTheLength) {
  WriteImages(24);
  const AttemptSeen seen = Run(std::string(kFiles) +
                               "training { data { eval { idx { images: 'images.idx' labels: 'labels.idx' "
                               "full_scale: 16 } } } evaluation { max_batches: 1 } }");
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  std::vector<std::int32_t> steps;
  for (const v1::JobEvent& event : seen.events()) {
    if (!event.has_evaluation()) continue;
    steps.push_back(event.evaluation().step());
    EXPECT_EQ(event.evaluation().targets(), 4) << "one batch of batch_size";
  }
  EXPECT_THAT(steps, ElementsAre(3, 6, 9, 12, 15, 18, 21, 24, 27, 30));  // of 5 epochs of 6 windows
}

TEST_F(AttemptTest, EpochsArePassesOverTheFiles) {
  WriteImages(10);  // 3 windows, the last one short
  const AttemptSeen seen = Run(kFiles);
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
  EXPECT_EQ(seen.ended.result().iterations(), 15);
  EXPECT_EQ(seen.started.at(0).total_iterations(), 15);
}

TEST_F(AttemptTest, EpochsThatNobodyCanCountAreABadSpec) {
  WriteImages(3000);
  const AttemptSeen seen = Run(std::string(kFiles) + "training { batch_size: 1 epochs: 1000000 }");
  ExpectFailed(seen, v1::Reason::BAD_SPEC);
  EXPECT_THAT(seen.ended.message(),
              AllOf(HasSubstr("training.epochs: 1000000 epochs of 3000 windows"), HasSubstr("give fewer")));
}

TEST_F(AttemptTest, EverythingThatIsWrongWithASpecIsSaidAtOnce) {
  const AttemptSeen seen = Run("training { batch_size: -1 max_grad_norm: -2 }");
  ExpectFailed(seen, v1::Reason::BAD_SPEC);
  EXPECT_THAT(seen.ended.message(), AllOf(HasSubstr("training.batch_size: "), HasSubstr("; training.max_grad_norm: ")));
}

TEST_F(AttemptTest, ASpecWithoutAWorkloadIsABadSpec) {
  v1::RunAttempt run;
  run.set_job_id(kJob);
  run.set_attempt(1);
  const AttemptSeen seen = RunIn(folder_, run);
  ExpectFailed(seen, v1::Reason::BAD_SPEC);
  EXPECT_THAT(seen.ended.message(), HasSubstr("training"));
}

TEST_F(AttemptTest, AMissingFileIsBadDataAndItsFieldIsNamed) {
  const AttemptSeen seen = Run(kFiles);
  ExpectFailed(seen, v1::Reason::BAD_DATA);
  EXPECT_THAT(seen.ended.message(), HasSubstr("training.data.train.idx.images"));
  EXPECT_THAT(seen.ended.message(), Not(HasSubstr(folder_.data().string()))) << "folders of the machine are nobody's";
}

TEST_F(AttemptTest, ACorruptFileIsBadDataAndItsFieldIsNamed) {
  WriteImages(12);
  RunFolder::Write(folder_.data() / "labels.idx", "no labels at all");
  const AttemptSeen seen = Run(kFiles);
  ExpectFailed(seen, v1::Reason::BAD_DATA);
  EXPECT_THAT(seen.ended.message(), HasSubstr("training.data.train.idx.labels"));
}

TEST_F(AttemptTest, DataThatDoesNotFitIsOutOfMemory) {
  const AttemptSeen seen = Run("", {.memory_limit_bytes = 1});
  ExpectFailed(seen, v1::Reason::OUT_OF_DEVICE_MEMORY);
  EXPECT_THAT(seen.ended.message(),
              AllOf(HasSubstr("training.data.train.synthetic.samples"), HasSubstr("give fewer samples")));
}

TEST_F(AttemptTest, AModelThatDoesNotFitIsRefusedBeforeItIsBuilt) {
  // 67 million parameters with gradients and moments are 1 GiB.
  const AttemptSeen seen = Run("training { model { mlp { hidden: 8192 hidden: 8192 } } }",
                               {.memory_limit_bytes = ResidentMemory() + (std::int64_t{512} << 20)});
  ExpectFailed(seen, v1::Reason::OUT_OF_DEVICE_MEMORY);
  EXPECT_THAT(seen.ended.message(),
              AllOf(HasSubstr("training.model: training it takes about 1."), HasSubstr("free on cpu"),
                    HasSubstr("not even one sample fits; use a smaller model")));
}

TEST_F(AttemptTest, AMicroBatchThatDoesNotFitIsRefusedWithTheOneThatWould) {
  // Activations of 4096 samples are 64 MiB, and the state takes 16 MiB more.
  const AttemptSeen seen =
      Run("training { batch_size: 4096 data { train { synthetic { samples: 4096 } } } model { mlp { hidden: 1024 "
          "hidden: 1024 } } precision { mode: FP32 } }",
          {.memory_limit_bytes = ResidentMemory() + (std::int64_t{64} << 20)});
  ExpectFailed(seen, v1::Reason::OUT_OF_DEVICE_MEMORY);
  EXPECT_THAT(seen.ended.message(),
              AllOf(HasSubstr("with micro-batches of 4096 samples"),
                    HasSubstr("samples would fit; set accumulation to "), HasSubstr("micro_batch: AUTO")));
}

TEST_F(AttemptTest, AWorkerThatCannotKeepCheckpointsSaysSo) {
  for (const process::Root& root : {process::Root{"checkpoints", folder_.checkpoints().string(), false},
                                    process::Root{"data", folder_.data().string(), false}}) {
    const auto roots = process::Roots::Open({root});
    ASSERT_TRUE(roots.ok()) << roots.status();
    const AttemptSeen seen = Run("", {.roots = &*roots});
    ExpectFailed(seen, v1::Reason::CHECKPOINT_FAILED);
    EXPECT_THAT(seen.ended.message(), HasSubstr("no writable root named checkpoints"));
  }
}

TEST_F(AttemptTest, AStoppedAttemptLeavesNoArtifactsAndNoProcessToReuse) {
  FakeControl control(6, /*checkpoint=*/true);
  const AttemptSeen seen = Run("", {.control = &control});
  EXPECT_EQ(seen.ended.state(), v1::Attempt::CANCELLED);
  EXPECT_FALSE(seen.ended.reusable());
  EXPECT_THAT(seen.saved, SizeIs(1));
  EXPECT_EQ(seen.ended.artifacts_size(), 0);
  EXPECT_EQ(seen.ended.result().checkpoint(), "attempt-0001/step-00000005");
}

TEST_F(AttemptTest, ANumericFailureKeepsItsCheckpointAndHandsInItsBundleAlone) {
  // A scale that is far too large for FP16 and may not fall.
  const AttemptSeen seen = Run(
      "training { iterations: 100 precision { mode: FP16 on_failure: CLAMP loss_scale { init: 1e12 min: 1e12 } } }");
  EXPECT_EQ(seen.ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(seen.ended.reason(), v1::Reason::NUMERIC_FAILURE) << seen.ended.message();
  EXPECT_FALSE(seen.ended.reusable());
  ASSERT_THAT(seen.saved, SizeIs(1));
  EXPECT_TRUE(seen.saved.at(0).finite());
  EXPECT_FALSE(seen.saved.at(0).final());
  ASSERT_EQ(seen.ended.artifacts_size(), 5);
  for (const v1::Artifact& artifact : seen.ended.artifacts()) {
    EXPECT_TRUE(artifact.name().starts_with("bundle-0001/")) << artifact.name();
  }
  EXPECT_EQ(seen.ended.result().skipped_iterations(), 50);
}

TEST_F(AttemptTest, AUsedProcessGivesTheBitsOfAFreshOne) {
  const std::string job =
      "training { model { mlp { hidden: 4 dropout: 0.3 } } precision { mode: FP16 } seed: 5 accumulation: 2 }";
  const auto bits = [&](const AttemptSeen& seen) {
    std::map<std::string, std::string> bits = RecordBits(seen.segments);
    for (const v1::Artifact& artifact : seen.ended.artifacts()) {
      if (artifact.name() != "MANIFEST.json") bits[artifact.name()] = artifact.sha256();
    }
    return bits;
  };
  const auto first = bits(RunIn(folder_, AttemptOf(job, 1)));
  EXPECT_THAT(first, AllOf(SizeIs(::testing::Ge(12)), Contains(::testing::Key("model.safetensors"))));
  // Whatever else the process does: another model in other precisions and threads, attempts that fail and are stopped,
  // and globals that somebody left behind.
  EXPECT_EQ(RunIn(folder_, LanguageAttempt(2)).ended.state(), v1::Attempt::SUCCEEDED);
  RunIn(folder_, AttemptOf("training { batch_size: -1 }", 3));
  FakeControl control(4);
  RunIn(folder_, AttemptOf("training { seed: 9 }", 4), {.control = &control});
  at::manual_seed(77);
  at::set_num_threads(2);
  at::globalContext().setFlushDenormal(true);
  EXPECT_THAT(Differences(bits(RunIn(folder_, AttemptOf(job, 5))), first), IsEmpty());
  // And the comparison can fail.
  EXPECT_THAT(Differences(bits(RunIn(folder_, AttemptOf(job + "training { seed: 6 }", 6))), first),
              AllOf(Contains("LOSS"), Contains("model.safetensors"), Not(Contains("ITERATION"))));
}

}  // namespace
}  // namespace mantissa::trainer
