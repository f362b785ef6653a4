#include "absl/strings/str_cat.h"

#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// One field of `training`, and its fault.
void ExpectTrainingFaults(const std::vector<Case>& cases) {
  for (const Case& each : cases) {
    ExpectFaults({{absl::StrCat("training { ", each.changes, " }"), each.fault}});
  }
}

TEST(ValidateTrainingTest, BatchSizeAndAccumulation) {
  ExpectTrainingFaults({{"batch_size: 1", ""},
                        {"batch_size: 1048576", ""},
                        {"batch_size: 0", "training.batch_size OUT_OF_RANGE"},
                        {"batch_size: -1", "training.batch_size OUT_OF_RANGE"},
                        {"batch_size: 1048577", "training.batch_size OUT_OF_RANGE"},
                        {"batch_size: 8 accumulation: 8", ""},
                        {"batch_size: 8 accumulation: 9", "training.accumulation CONFLICT"},
                        {"accumulation: 65", "training.accumulation CONFLICT"},
                        {"accumulation: 0", "training.accumulation OUT_OF_RANGE"},
                        {"accumulation: 2147483647", "training.accumulation OUT_OF_RANGE"}});
}

TEST(ValidateTrainingTest, AMicroBatchIsChosenOrGivenNotBoth) {
  ExpectTrainingFaults({{"micro_batch: AUTO", ""},
                        {"micro_batch: AUTO batch_size: 1", ""},
                        {"micro_batch: AUTO accumulation: 1", "training.accumulation CONFLICT"},
                        {"micro_batch: CHOICE_UNSPECIFIED accumulation: 4", ""}});
  v1::JobSpec unknown = MlpSpec();
  unknown.mutable_training()->set_micro_batch(static_cast<v1::MicroBatch::Choice>(7));
  EXPECT_THAT(Faults(unknown), ElementsAre("training.micro_batch UNKNOWN_VALUE"));
}

TEST(ValidateTrainingTest, WhatCountsIsWhetherOneSampleFitsWhereTheMicroBatchIsChosen) {
  const std::string wide = "batch_size: 1048576 data { train { synthetic { shape: [1024, 1048576] } } } ";
  ExpectTrainingFaults(
      {{wide + "accumulation: 1048576", ""}, {wide + "micro_batch: AUTO", ""}, {wide, "training.model OUT_OF_RANGE"}});
}

TEST(ValidateTrainingTest, InitFromNamesOneSource) {
  const std::string id = "job_id: '01j00000000000000000000000' ";
  ExpectTrainingFaults(
      {{"init_from { " + id + " }", ""},
       {"init_from { " + id + " step: 200 }", ""},
       {"init_from { path: 'models:a/model.safetensors' }", ""},
       {"init_from {}", "training.init_from REQUIRED"},
       {"init_from { job_id: '' }", "training.init_from.job_id INVALID_FORMAT"},
       {"init_from { job_id: '01J00000000000000000000000' }", "training.init_from.job_id INVALID_FORMAT"},
       {"init_from { job_id: '../../../../../etc/passwd1' }", "training.init_from.job_id INVALID_FORMAT"},
       {"init_from { path: '' }", "training.init_from.path REQUIRED"},
       {"init_from { path: '../secret' }", "training.init_from.path INVALID_FORMAT"},
       {"init_from { path: 'a' step: 3 }", "training.init_from.step CONFLICT"},
       {"init_from { " + id + " step: -1 }", "training.init_from.step OUT_OF_RANGE"}});
}

TEST(ValidateTrainingTest, RenamesAreOneToOne) {
  const auto rename = [](const std::string& entries) { return "init_from { path: 'a' " + entries + " }"; };
  ExpectTrainingFaults(
      {{rename("rename { key: 'fc.weight' value: 'head.weight' } rename { key: 'fc.bias' value: 'head.bias' }"), ""},
       {rename("rename { key: 'a' value: '' }"), "training.init_from.rename[\"a\"] REQUIRED"},
       {rename("rename { key: '' value: 'a' }"), "training.init_from.rename[\"\"] REQUIRED"},
       {rename("rename { key: 'b' value: 'x' } rename { key: 'a' value: 'x' }"),
        "training.init_from.rename[\"b\"] CONFLICT"}});
  v1::JobSpec many = MlpSpec("training { init_from { path: 'a' } }");
  for (int i = 0; i <= 10'000; ++i) {
    (*many.mutable_training()->mutable_init_from()->mutable_rename())[absl::StrCat(i)] = absl::StrCat("x", i);
  }
  EXPECT_THAT(Faults(many), ElementsAre("training.init_from.rename OUT_OF_RANGE"));
}

TEST(ValidateTrainingTest, MaxGradNorm) {
  ExpectTrainingFaults({{"max_grad_norm: 0", ""},
                        {"max_grad_norm: 1e30", ""},
                        {"max_grad_norm: -1e-9", "training.max_grad_norm OUT_OF_RANGE"},
                        {"max_grad_norm: 1e31", "training.max_grad_norm OUT_OF_RANGE"},
                        {"max_grad_norm: inf", "training.max_grad_norm OUT_OF_RANGE"},
                        {"max_grad_norm: -inf", "training.max_grad_norm OUT_OF_RANGE"},
                        {"max_grad_norm: nan", "training.max_grad_norm OUT_OF_RANGE"}});
}

TEST(ValidateTrainingTest, Length) {
  ExpectTrainingFaults({{"iterations: 1", ""},
                        {"iterations: 1000000000", ""},
                        {"iterations: 0", "training.iterations OUT_OF_RANGE"},
                        {"iterations: -5", "training.iterations OUT_OF_RANGE"},
                        {"iterations: 1000000001", "training.iterations OUT_OF_RANGE"},
                        {"epochs: 1000000", ""},
                        {"epochs: 0", "training.epochs OUT_OF_RANGE"},
                        {"epochs: 1000001", "training.epochs OUT_OF_RANGE"}});
}

TEST(ValidateTrainingTest, EpochsThatMakeTooManyIterationsAreRefused) {
  // 2^31 - 1 samples in windows of one are as many iterations an epoch.
  const std::string data = "batch_size: 1 data { train { synthetic { samples: 1000000 } } } ";
  ExpectTrainingFaults({{data + "epochs: 1000", ""},
                        {data + "epochs: 1001", "training.epochs OUT_OF_RANGE"},
                        {"batch_size: 1 data { train { synthetic { samples: 2147483647 } } } epochs: 1000000",
                         "training.epochs OUT_OF_RANGE"}});
}

TEST(ValidateTrainingTest, Evaluation) {
  const std::string eval = "data { eval { synthetic {} } } ";
  ExpectTrainingFaults({{eval + "evaluation { every_steps: 0 max_batches: 0 }", ""},
                        {eval + "evaluation { every_steps: 1000000000 }", ""},
                        {eval + "evaluation { every_steps: -1 }", "training.evaluation.every_steps OUT_OF_RANGE"},
                        {eval + "evaluation { max_batches: -1 }", "training.evaluation.max_batches OUT_OF_RANGE"},
                        {"evaluation {}", ""},
                        {"evaluation { every_steps: 0 }", ""},
                        {"evaluation { every_steps: 5 }", "training.evaluation CONFLICT"},
                        {"evaluation { max_batches: 5 }", "training.evaluation CONFLICT"}});
}

TEST(ValidateTrainingTest, CheckpointAndTelemetry) {
  ExpectTrainingFaults(
      {{"checkpoint { every_steps: 0 keep: 2 }", ""},
       {"checkpoint { keep: 1000 }", ""},
       {"checkpoint { keep: 0 }", "training.checkpoint.keep OUT_OF_RANGE"},
       {"checkpoint { keep: 1 }", "training.checkpoint.keep OUT_OF_RANGE"},
       {"checkpoint { keep: 1001 }", "training.checkpoint.keep OUT_OF_RANGE"},
       {"checkpoint { every_steps: -1 }", "training.checkpoint.every_steps OUT_OF_RANGE"},
       {"telemetry { every_iterations: 1000000 }", ""},
       {"telemetry { every_iterations: 0 }", "training.telemetry.every_iterations OUT_OF_RANGE"},
       {"telemetry { every_iterations: 1000001 }", "training.telemetry.every_iterations OUT_OF_RANGE"},
       {"telemetry { ranges_every_iterations: 0 }", ""},
       {"telemetry { ranges_every_iterations: 1000000 }", ""},
       {"telemetry { ranges_every_iterations: -1 }", "training.telemetry.ranges_every_iterations OUT_OF_RANGE"},
       {"telemetry { ranges_every_iterations: 1000001 }", "training.telemetry.ranges_every_iterations OUT_OF_RANGE"},
       {"precision { statistics_window: 1 }", ""},
       {"precision { statistics_window: 1000000 }", ""},
       {"precision { statistics_window: 0 }", "training.precision.statistics_window OUT_OF_RANGE"},
       {"precision { statistics_window: 1000001 }", "training.precision.statistics_window OUT_OF_RANGE"}});
}

TEST(ValidateTrainingTest, Execution) {
  ExpectTrainingFaults({{"execution { mode: EAGER deterministic: true }", ""},
                        {"execution { mode: GRAPH }", ""},
                        {"execution { mode: AUTO }", ""}});
  v1::JobSpec unknown = MlpSpec();
  unknown.mutable_training()->mutable_execution()->set_mode(static_cast<v1::ExecutionSpec::Mode>(9));
  EXPECT_THAT(Faults(unknown), ElementsAre("training.execution.mode UNKNOWN_VALUE"));
}

TEST(ValidateTrainingTest, AModelNoMachineCanHoldIsRefusedWithItsSize) {
  const v1::JobSpec wide = MlpSpec("training { model { mlp { hidden: [1048576, 1048576, 1048576, 1048576] } } }");
  EXPECT_THAT(Faults(wide), ElementsAre("training.model OUT_OF_RANGE"));
  EXPECT_THAT(ValidateJobSpec(wide)[0].description, HasSubstr("parameters and needs about"));
}

TEST(ValidateTrainingTest, ALongContextAndALargeBatchAreAddedUpWithoutWrappingRound) {
  EXPECT_THAT(Faults(SpecFrom("training { model { gpt { layers: 256 d_model: 65536 heads: 1024 context: 1048576 "
                              "vocabulary: 16777216 } } data { train { text { files: 'a' } } } batch_size: 1048576 }")),
              ElementsAre("training.model OUT_OF_RANGE"));
}

TEST(ValidateTrainingTest, TheSizeOfAModelOnFilesIsItsLeast) {
  const std::string idx = "data { train { idx { images: 'a' labels: 'b' } } }";
  EXPECT_THAT(Faults(SpecFrom("training { model { mlp { hidden: 128 } } " + idx + " }")), testing::IsEmpty());
  EXPECT_THAT(Faults(SpecFrom("training { model { mlp { hidden: [1048576, 1048576, 1048576] } } " + idx + " }")),
              ElementsAre("training.model OUT_OF_RANGE"));
}

}  // namespace
}  // namespace mantissa::spec
