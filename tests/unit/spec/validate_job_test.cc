#include "absl/strings/str_cat.h"

#include "tests/unit/spec/spec_text.h"

namespace mantissa::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(ValidateJobTest, AModelAndItsDataAreAGoodSpec) { EXPECT_THAT(Faults(MlpSpec()), IsEmpty()); }

TEST(ValidateJobTest, AnEmptySpecSaysWhatIsMissing) {
  EXPECT_THAT(Faults(v1::JobSpec()), ElementsAre("training REQUIRED"));
  EXPECT_THAT(Faults(SpecFrom("training {}")), ElementsAre("training.model REQUIRED", "training.data.train REQUIRED"));
}

TEST(ValidateJobTest, Names) {
  ExpectFaults({{"name: 'a'", ""},
                {"name: 'digits-fp16_2.x'", ""},
                {absl::StrCat("name: '", std::string(63, 'a'), "'"), ""},
                {absl::StrCat("name: '", std::string(64, 'a'), "'"), "name INVALID_FORMAT"},
                {"name: 'Digits'", "name INVALID_FORMAT"},
                {"name: '-a'", "name INVALID_FORMAT"},
                {"name: 'a-'", "name INVALID_FORMAT"},
                {"name: 'a b'", "name INVALID_FORMAT"},
                {"name: 'a\\000b'", "name INVALID_FORMAT"},
                {"name: '../x'", "name INVALID_FORMAT"}});
}

TEST(ValidateJobTest, ALongNameIsShownUpToAWholeCharacter) {
  v1::JobSpec spec = MlpSpec();
  spec.set_name(std::string(79, 'a') + "\u00e9\u00e9");  // the first of two bytes would be the 80th
  const std::vector<Violation> violations = ValidateJobSpec(spec);
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_THAT(violations[0].description, HasSubstr(std::string(79, 'a') + "\u2026\""));
}

TEST(ValidateJobTest, Labels) {
  std::string many;
  for (int i = 0; i < 64; ++i) absl::StrAppend(&many, "labels { key: 'k", i, "' value: 'v' } ");
  ExpectFaults(
      {{"labels { key: 'team' value: '' }", ""},
       {many, ""},
       {many + "labels { key: 'one-more' value: 'v' }", "labels OUT_OF_RANGE"},
       {"labels { key: '' value: 'v' }", "labels[\"\"] INVALID_FORMAT"},
       {"labels { key: 'Team' value: 'v' }", "labels[\"Team\"] INVALID_FORMAT"},
       {absl::StrCat("labels { key: 'k' value: '", std::string(256, 'v'), "' }"), ""},
       {absl::StrCat("labels { key: 'k' value: '", std::string(257, 'v'), "' }"), "labels[\"k\"] OUT_OF_RANGE"}});
  v1::JobSpec unordered = MlpSpec();
  std::vector<std::string> in_order;
  for (char key = 'Z'; key >= 'A'; --key) {
    (*unordered.mutable_labels())[std::string(1, key)] = "";
    in_order.insert(in_order.begin(), absl::StrCat("labels[\"", std::string(1, key), "\"] INVALID_FORMAT"));
  }
  EXPECT_THAT(Faults(unordered), testing::ElementsAreArray(in_order));
}

TEST(ValidateJobTest, Priority) {
  ExpectFaults({{"priority: 1000", ""},
                {"priority: -1000", ""},
                {"priority: 1001", "priority OUT_OF_RANGE"},
                {"priority: -2147483648", "priority OUT_OF_RANGE"}});
}

TEST(ValidateJobTest, Resources) {
  ExpectFaults(
      {{"resources { device: CUDA gpus: 1 }", ""},
       {"resources { device: CPU cpu_threads: 1024 }", ""},
       {"resources { gpus: 2 }", "resources.gpus UNIMPLEMENTED"},
       {"resources { gpus: -1 }", "resources.gpus OUT_OF_RANGE"},
       {"resources { device: CPU gpus: 1 }", "resources.gpus CONFLICT"},
       {"resources { device: CPU gpus: 2 }", "resources.gpus CONFLICT"},
       {"resources { cpu_threads: 1025 }", "resources.cpu_threads OUT_OF_RANGE"},
       {"resources { cpu_threads: -1 }", "resources.cpu_threads OUT_OF_RANGE"},
       {"resources { memory_bytes: -1 }", "resources.memory_bytes OUT_OF_RANGE"},
       {"resources { memory_bytes: 9223372036854775807 }", "resources.memory_bytes OUT_OF_RANGE"},
       {"resources { worker_selector { key: 'zone' value: 'a' } }", ""},
       {"resources { worker_selector { key: '!' value: 'a' } }", "resources.worker_selector[\"!\"] INVALID_FORMAT"},
       {"resources { gpu { model: 'H200' min_memory_bytes: 1 min_compute_capability: '9.0' } }", ""},
       {"resources { device: CPU gpu { model: 'H200' } }", "resources.gpu CONFLICT"},
       {"resources { gpu { min_memory_bytes: -1 } }", "resources.gpu.min_memory_bytes OUT_OF_RANGE"},
       {absl::StrCat("resources { gpu { model: '", std::string(257, 'x'), "' } }"),
        "resources.gpu.model OUT_OF_RANGE"}});
  for (const char* capability : {"9", ".0", "9.", "a.b", "9.0.0", "-9.0", "100.0", " 9.0"}) {
    ExpectFaults({{absl::StrCat("resources { gpu { min_compute_capability: '", capability, "' } }"),
                   "resources.gpu.min_compute_capability INVALID_FORMAT"}});
  }
  v1::JobSpec unknown = MlpSpec();
  unknown.mutable_resources()->set_device(static_cast<v1::ResourceSpec::Device>(99));
  EXPECT_THAT(Faults(unknown), ElementsAre("resources.device UNKNOWN_VALUE"));
}

TEST(ValidateJobTest, Retry) {
  ExpectFaults({{"retry { max_attempts: 1 }", ""},
                {"retry { max_attempts: 1000 }", ""},
                {"retry { max_attempts: 0 }", "retry.max_attempts OUT_OF_RANGE"},
                {"retry { max_attempts: 1001 }", "retry.max_attempts OUT_OF_RANGE"},
                {"retry { retry_on: [NUMERIC_FAILURE, OUT_OF_DEVICE_MEMORY] never_on: OOM_KILLED }", ""},
                {"retry { retry_on: [NUMERIC_FAILURE, BAD_SPEC] }", "retry.retry_on[1] OUT_OF_RANGE"},
                {"retry { retry_on: OOM_KILLED }", "retry.retry_on[0] OUT_OF_RANGE"},
                {"retry { never_on: WORKER_STOPPED }", "retry.never_on[0] OUT_OF_RANGE"},
                {"retry { initial_backoff {} max_backoff {} }", ""},
                {"retry { initial_backoff { seconds: -1 } }", "retry.initial_backoff OUT_OF_RANGE"},
                {"retry { initial_backoff { nanos: -1 } }", "retry.initial_backoff OUT_OF_RANGE"},
                {"retry { initial_backoff { seconds: 1 nanos: -1 } }", "retry.initial_backoff INVALID_FORMAT"},
                {"retry { initial_backoff { seconds: -1 nanos: 1 } }", "retry.initial_backoff INVALID_FORMAT"},
                {"retry { initial_backoff { nanos: 1000000000 } }", "retry.initial_backoff INVALID_FORMAT"},
                {"retry { max_backoff { seconds: 86400 } }", ""},
                {"retry { max_backoff { seconds: 86400 nanos: 1 } }", "retry.max_backoff OUT_OF_RANGE"},
                {"retry { max_backoff { seconds: 9223372036854775807 } }", "retry.max_backoff OUT_OF_RANGE"},
                {"retry { initial_backoff { seconds: 60 } }", ""},
                {"retry { initial_backoff { seconds: 60 nanos: 1 } }", "retry.initial_backoff CONFLICT"},
                {"retry { initial_backoff { seconds: 61 } }", "retry.initial_backoff CONFLICT"}});
}

TEST(ValidateJobTest, Timeouts) {
  for (const char* field : {"queue", "attempt", "total", "start", "stall"}) {
    const std::string out_of_range = absl::StrCat("timeouts.", field, " OUT_OF_RANGE");
    ExpectFaults({{absl::StrCat("timeouts { ", field, " { nanos: 1 } }"), ""},
                  {absl::StrCat("timeouts { ", field, " { seconds: 315360000 } }"), ""},
                  {absl::StrCat("timeouts { ", field, " {} }"), out_of_range},
                  {absl::StrCat("timeouts { ", field, " { seconds: -1 } }"), out_of_range},
                  {absl::StrCat("timeouts { ", field, " { seconds: 315360001 } }"), out_of_range}});
  }
}

TEST(ValidateJobTest, OnDisconnect) {
  ExpectFaults({{"on_disconnect: KEEP", ""}, {"on_disconnect: STOP", ""}});
  v1::JobSpec unknown = MlpSpec();
  unknown.set_on_disconnect(static_cast<v1::JobSpec::OnDisconnect>(-1));
  EXPECT_THAT(Faults(unknown), ElementsAre("on_disconnect UNKNOWN_VALUE"));
}

TEST(ValidateJobTest, TooLargeASpecIsRefusedAsAWhole) {
  v1::JobSpec spec = MlpSpec();
  for (int i = 0; i < 300; ++i) {
    spec.mutable_training()->mutable_data()->mutable_eval()->mutable_text()->add_files(std::string(1000, 'a'));
  }
  EXPECT_THAT(Faults(spec), ElementsAre(" OUT_OF_RANGE"));
}

TEST(ValidateJobTest, AGraphNeedsADeviceThatHasThem) {
  const std::string graph = "training { execution { mode: GRAPH } }";
  EXPECT_THAT(Faults(MlpSpec(graph)), testing::IsEmpty());
  EXPECT_THAT(Faults(MlpSpec("resources { device: CUDA } " + graph)), testing::IsEmpty());
  const v1::JobSpec on_cpu = MlpSpec("resources { device: CPU } " + graph);
  EXPECT_THAT(Faults(on_cpu), ElementsAre("training.execution.mode CONFLICT"));
  EXPECT_THAT(ValidateJobSpec(on_cpu)[0].description, testing::HasSubstr("use AUTO, or set resources.device to CUDA"));
  EXPECT_THAT(Faults(MlpSpec("resources { device: CPU } training { execution { mode: AUTO } }")), testing::IsEmpty());
}

TEST(ValidateJobTest, ReportsEverythingAtOnceInTheOrderOfTheFields) {
  EXPECT_THAT(
      Faults(MlpSpec("name: 'A' priority: 5000 resources { gpus: 4 } retry { max_attempts: 0 } "
                     "timeouts { stall {} } on_disconnect: 9 "
                     "training { model { mlp { hidden: 0 dropout: 1 } } "
                     "data { train { synthetic { samples: 0 } } } "
                     "precision { mode: FP16 loss_scale { init: nan } on_failure: FALLBACK } "
                     "optimizer { adamw { learning_rate: -1 } } schedule { cosine { warmup_steps: -1 } } "
                     "batch_size: 0 accumulation: 0 max_grad_norm: inf epochs: 0 "
                     "evaluation { max_batches: -1 } checkpoint { keep: 1 } "
                     "telemetry { every_iterations: 0 } execution { mode: 9 } "
                     "parameter_groups {} init_from {} }")),
      ElementsAre("name INVALID_FORMAT", "priority OUT_OF_RANGE", "resources.gpus UNIMPLEMENTED",
                  "retry.max_attempts OUT_OF_RANGE", "timeouts.stall OUT_OF_RANGE", "on_disconnect UNKNOWN_VALUE",
                  "training.model.mlp.hidden[1] OUT_OF_RANGE", "training.model.mlp.dropout OUT_OF_RANGE",
                  "training.data.train.synthetic.samples OUT_OF_RANGE",
                  "training.precision.loss_scale.init OUT_OF_RANGE", "training.precision.on_failure CONFLICT",
                  "training.optimizer.adamw.learning_rate OUT_OF_RANGE",
                  "training.schedule.cosine.warmup_steps OUT_OF_RANGE", "training.batch_size OUT_OF_RANGE",
                  "training.accumulation OUT_OF_RANGE", "training.max_grad_norm OUT_OF_RANGE",
                  "training.epochs OUT_OF_RANGE", "training.evaluation.max_batches OUT_OF_RANGE",
                  "training.checkpoint.keep OUT_OF_RANGE", "training.telemetry.every_iterations OUT_OF_RANGE",
                  "training.execution.mode UNKNOWN_VALUE", "training.init_from REQUIRED",
                  "training.parameter_groups[0].match REQUIRED", "training.parameter_groups[0] REQUIRED"));
}

TEST(ValidateJobTest, AViolationSaysWhatIsWrongWhatIsAllowedAndAnExample) {
  const auto violations = ValidateJobSpec(MlpSpec("priority: 1001 training { optimizer { sgd { momentum: nan } } }"));
  ASSERT_EQ(violations.size(), 2u);
  EXPECT_EQ(violations[0].description, "is 1001; -1000 to 1000 is allowed, such as 0");
  EXPECT_EQ(violations[1].description, "is NaN; a number at least 0 and below 1 is allowed, such as 0.9");
}

// As a newer client sends them: parsing keeps them silently, and the job would run without what they ask for.
TEST(ValidateJobTest, AFieldThatThisBuildDoesNotKnowIsRefusedWhereverItStands) {
  v1::JobSpec spec = MlpSpec("");
  const auto add = [](google::protobuf::Message& message, int number) {
    message.GetReflection()->MutableUnknownFields(&message)->AddVarint(number, 1);
  };
  add(spec, 4000);
  add(*spec.mutable_training()->mutable_model()->mutable_mlp(), 4001);
  add(*spec.mutable_training()->add_parameter_groups(), 4002);
  const auto violations = ValidateJobSpec(spec);
  ASSERT_GE(violations.size(), 3u);
  EXPECT_EQ(violations[0].field_path, "");
  EXPECT_EQ(violations[0].reason, ViolationReason::kUnknownValue);
  EXPECT_EQ(violations[0].description,
            "has a field that this server does not know (number 4000); upgrade the server, or leave the field out");
  EXPECT_EQ(violations[1].field_path, "training.model.mlp");
  EXPECT_THAT(violations[1].description, HasSubstr("4001"));
  EXPECT_EQ(violations[2].field_path, "training.parameter_groups[0]");
}

TEST(ValidateJobTest, TextFromOutsideIsEscapedAndCut) {
  const auto violations = ValidateJobSpec(MlpSpec(absl::StrCat("name: '\\033[2J\\n", std::string(500, 'a'), "'")));
  ASSERT_EQ(violations.size(), 1u);
  EXPECT_THAT(violations[0].description, HasSubstr("\\x1b[2J\\n"));
  EXPECT_LT(violations[0].description.size(), 300u);
}

TEST(ValidateJobTest, KnowsWhenASpecOnlyAsksForWhatIsNotBuilt) {
  EXPECT_TRUE(OnlyUnimplemented(ValidateJobSpec(MlpSpec("resources { gpus: 4 }"))));
  EXPECT_FALSE(OnlyUnimplemented(ValidateJobSpec(MlpSpec("resources { gpus: 4 } priority: 1001"))));
  EXPECT_FALSE(OnlyUnimplemented({}));
}

}  // namespace
}  // namespace mantissa::spec
