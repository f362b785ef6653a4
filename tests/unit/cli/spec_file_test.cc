#include "client/cli/spec/spec_file.h"

#include <cmath>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kGood[] = R"(name: digits-fp16
training:
  model: { mlp: { hidden: [128], activation: RELU } }
  data:
    train: { idx: { images: digits/train-images.idx, labels: digits/train-labels.idx } }
  precision: { mode: FP16, loss_scale: { preset: TORCH } }
  optimizer: { adamw: { learning_rate: 3e-3, weight_decay: 0.01 } }
  batch_size: 64
  epochs: 30
  checkpoint: { every_steps: 200 }
)";

SpecFile Read(const std::string& text, std::vector<std::string> overrides = {}) {
  return ReadSpecText(text, {.file = "job.yaml", .overrides = std::move(overrides), .name = ""});
}

std::vector<std::string> Problems(const SpecFile& file) {
  std::vector<std::string> lines;
  for (const SpecProblem& problem : file.problems) lines.push_back(FormatProblem(file.shown_name, problem));
  return lines;
}

std::vector<std::string> ProblemsOf(const std::string& text) { return Problems(Read(text)); }

TEST(SpecFile, ReadsTheExampleAsItStands) {
  const SpecFile file = Read(kGood);
  ASSERT_THAT(Problems(file), IsEmpty());
  const v1::TrainingSpec& training = file.spec.training();
  EXPECT_EQ(file.spec.name(), "digits-fp16");
  EXPECT_THAT(training.model().mlp().hidden(), ElementsAre(128));
  EXPECT_EQ(training.model().mlp().activation(), v1::Activation::RELU);
  EXPECT_EQ(training.precision().mode(), v1::PrecisionSpec::FP16);
  EXPECT_DOUBLE_EQ(training.optimizer().adamw().learning_rate(), 3e-3);
  EXPECT_EQ(training.length_case(), v1::TrainingSpec::kEpochs);
}

TEST(SpecFile, ReadsJsonAndCamelCaseAsTheSameMessage) {
  const SpecFile yaml = Read("training:\n  batch_size: 8\n  max_grad_norm: 0.5\nretry: { max_attempts: 2 }\n");
  const SpecFile json =
      Read("{\n\t\"training\": {\"batchSize\": 8, \"maxGradNorm\": 0.5},\n\t\"retry\": {\"maxAttempts\": 2}\n}\n");
  EXPECT_THAT(Problems(json), IsEmpty());
  EXPECT_EQ(yaml.spec.SerializeAsString(), json.spec.SerializeAsString());
}

TEST(SpecFile, KeepsTabsInsideJsonStrings) { EXPECT_EQ(Read("{\t\"name\": \"a\\tb\"}").spec.name(), "a\tb"); }

TEST(SpecFile, NamesAnUnknownKeyItsLineItsPathAndTheNearestOne) {
  EXPECT_THAT(ProblemsOf("name: a\ntraining:\n  bach_size: 3\n"),
              ElementsAre("job.yaml:3: training.bach_size: unknown key \"bach_size\"; did you mean batch_size?"));
}

TEST(SpecFile, SaysWhereAKeyBelongsThatStandsInTheWrongPlace) {
  EXPECT_THAT(ProblemsOf("training:\n  weight_decay: 0.1\n"),
              ElementsAre(HasSubstr("unknown key \"weight_decay\" here; it belongs to training.optimizer.adamw")));
}

TEST(SpecFile, ListsTheKnownKeysWhenNoneIsNear) {
  EXPECT_THAT(ProblemsOf("resources:\n  qqqqqqqqqqqq: 1\n"), ElementsAre(HasSubstr("known here: device, gpus")));
}

TEST(SpecFile, ReportsEveryProblemInOrderOfLines) {
  const auto problems = ProblemsOf(
      "naem: a\n"
      "priority: high\n"
      "training:\n"
      "  batch_size: [1]\n"
      "  precision: { mode: FP17 }\n"
      "  model: 3\n");
  ASSERT_THAT(problems, SizeIs(5));
  EXPECT_THAT(problems[0], HasSubstr("job.yaml:1: naem: unknown key"));
  EXPECT_THAT(problems[1], HasSubstr("job.yaml:2: priority: expected a whole number, found \"high\""));
  EXPECT_THAT(problems[2], HasSubstr("job.yaml:4: training.batch_size: expected a whole number, found a list"));
  EXPECT_THAT(problems[3], HasSubstr("job.yaml:5: training.precision.mode: \"FP17\" is not a value of this field; "
                                     "allowed: FP32, TF32, FP16, BF16; did you mean FP"));
  EXPECT_THAT(problems[4], HasSubstr("job.yaml:6: training.model: expected a map of fields, found \"3\""));
}

TEST(SpecFile, ShowsAnExampleOfTheRightType) {
  EXPECT_THAT(ProblemsOf("training: { model: { mlp: { hidden: 128 } } }"),
              ElementsAre(HasSubstr("expected a list, found \"128\"; write for example hidden: [64]")));
  EXPECT_THAT(ProblemsOf("timeouts: { stall: 30 }"),
              ElementsAre(HasSubstr("found \"30\" without a unit (ms, s, m, h or d); write for example stall: 30s")));
  EXPECT_THAT(ProblemsOf("labels: [a]"), ElementsAre(HasSubstr("write for example labels: { team: nlp }")));
  EXPECT_THAT(ProblemsOf("name: [a]"), ElementsAre(HasSubstr("expected a text, found a list")));
}

TEST(SpecFile, TakesEnumsInAnyCase) {
  const SpecFile file = Read("training: { precision: { mode: bf16, loss_scale: { preset: apex-hysteresis } } }");
  ASSERT_THAT(Problems(file), IsEmpty());
  EXPECT_EQ(file.spec.training().precision().mode(), v1::PrecisionSpec::BF16);
  EXPECT_EQ(file.spec.training().precision().loss_scale().preset(), v1::LossScaleSpec::APEX_HYSTERESIS);
}

TEST(SpecFile, TakesDurationsWithUnits) {
  const SpecFile file = Read("timeouts: { queue: 5m, attempt: 1.5h, total: 2d, start: 500ms, stall: 1.000000001s }");
  ASSERT_THAT(Problems(file), IsEmpty());
  EXPECT_EQ(file.spec.timeouts().queue().seconds(), 300);
  EXPECT_EQ(file.spec.timeouts().attempt().seconds(), 5400);
  EXPECT_EQ(file.spec.timeouts().total().seconds(), 172800);
  EXPECT_EQ(file.spec.timeouts().start().nanos(), 500'000'000);
  EXPECT_EQ(file.spec.timeouts().stall().nanos(), 1);
  EXPECT_THAT(ProblemsOf("timeouts: { queue: soon }"), ElementsAre(HasSubstr("expected a duration")));
}

TEST(SpecFile, TakesBytesWithUnits) {
  EXPECT_EQ(Read("resources: { memory_bytes: 16GiB }").spec.resources().memory_bytes(), std::int64_t{16} << 30);
  EXPECT_EQ(Read("resources: { memory_bytes: 16 GB }").spec.resources().memory_bytes(), 16'000'000'000);
  EXPECT_EQ(Read("resources: { memory_bytes: 4096 }").spec.resources().memory_bytes(), 4096);
  EXPECT_THAT(ProblemsOf("resources: { memory_bytes: 16 Gulp }"), ElementsAre(HasSubstr("memory_bytes: 16GiB")));
}

TEST(SpecFile, HoldsIntegersToTheirTypes) {
  EXPECT_EQ(Read("training: { seed: 18446744073709551615 }").spec.training().seed(), 18446744073709551615ULL);
  EXPECT_EQ(Read("training: { iterations: 1e6 }").spec.training().iterations(), 1000000);
  EXPECT_EQ(Read("priority: -3").spec.priority(), -3);
  EXPECT_THAT(ProblemsOf("training: { seed: 18446744073709551616 }"), ElementsAre(HasSubstr("out of range")));
  EXPECT_THAT(ProblemsOf("training: { seed: -1 }"), ElementsAre(HasSubstr("from 0 to 18446744073709551615")));
  EXPECT_THAT(ProblemsOf("priority: 2147483648"), ElementsAre(HasSubstr("from -2147483648 to 2147483647")));
  EXPECT_THAT(ProblemsOf("priority: 1.5"), ElementsAre(HasSubstr("expected a whole number")));
  EXPECT_THAT(ProblemsOf("priority: 0x10"), ElementsAre(HasSubstr("expected a whole number")));
  EXPECT_THAT(ProblemsOf("priority: true"), ElementsAre(HasSubstr("expected a whole number")));
}

TEST(SpecFile, ReadsNumbersThatAreNoneForValidationToRefuse) {
  EXPECT_TRUE(std::isnan(Read("training: { max_grad_norm: .nan }").spec.training().max_grad_norm()));
  EXPECT_TRUE(std::isnan(Read("training: { max_grad_norm: \"NaN\" }").spec.training().max_grad_norm()));
  EXPECT_TRUE(std::isinf(Read("training: { max_grad_norm: .inf }").spec.training().max_grad_norm()));
  EXPECT_LT(Read("training: { max_grad_norm: -Infinity }").spec.training().max_grad_norm(), 0);
  EXPECT_THAT(ProblemsOf("training: { max_grad_norm: 1e999 }"), ElementsAre(HasSubstr("no double can hold")));
  EXPECT_THAT(ProblemsOf("training: { max_grad_norm: lots }"), ElementsAre(HasSubstr("expected a number")));
}

TEST(SpecFile, WantsBooleansAsTrueOrFalse) {
  EXPECT_FALSE(Read("training: { precision: { check_loss: false } }").spec.training().precision().check_loss());
  EXPECT_THAT(ProblemsOf("training: { precision: { check_loss: yes } }"), ElementsAre(HasSubstr("true or false")));
  EXPECT_THAT(ProblemsOf("training: { precision: { check_loss: \"true\" } }"), ElementsAre(HasSubstr("in quotes")));
}

TEST(SpecFile, KeepsTheTextOfANumberInATextField) {
  EXPECT_EQ(Read("resources: { gpu: { min_compute_capability: 8.0 } }").spec.resources().gpu().min_compute_capability(),
            "8.0");
}

TEST(SpecFile, TakesAMessageWithNothingAfterItAsItsDefaults) {
  const SpecFile file = Read("training:\n  model:\n    gpt:\n");
  ASSERT_THAT(Problems(file), IsEmpty());
  EXPECT_EQ(file.spec.training().model().kind_case(), v1::Model::kGpt);
}

TEST(SpecFile, RefusesTwoMembersOfOneChoice) {
  EXPECT_THAT(ProblemsOf("training:\n  epochs: 3\n  iterations: 100\n"),
              ElementsAre("job.yaml:3: training.iterations: only one of epochs (line 2) and iterations can be given; "
                          "remove one of them"));
}

TEST(SpecFile, RefusesAKeyGivenTwiceInEitherSpelling) {
  EXPECT_THAT(ProblemsOf("name: a\npriority: 1\nname: b\n"),
              ElementsAre(HasSubstr("job.yaml:3: the key \"name\" is given twice, first on line 1")));
  EXPECT_THAT(ProblemsOf("training:\n  batch_size: 1\n  batchSize: 2\n"),
              ElementsAre(HasSubstr("job.yaml:3: training.batch_size: given twice, as batch_size on line 2")));
}

TEST(SpecFile, RefusesAnEmptyFile) {
  for (const char* text : {"", "   \n", "# only words\n", "---\n", "null"}) {
    EXPECT_THAT(ProblemsOf(text), ElementsAre(HasSubstr("empty; a spec needs at least training.model"))) << text;
  }
}

TEST(SpecFile, RefusesSeveralDocumentsWithTheRemedy) {
  EXPECT_THAT(ProblemsOf("name: a\n---\nname: b\n"),
              ElementsAre("job.yaml:3: a second document begins (---); put each job into a file of its own and submit "
                          "the files one by one"));
}

TEST(SpecFile, RefusesWhatIsNoMapAtTheTop) {
  EXPECT_THAT(ProblemsOf("- a\n- b\n"), ElementsAre(HasSubstr("job.yaml:1: expected a map of fields, found a list")));
  EXPECT_THAT(ProblemsOf("hello"), ElementsAre(HasSubstr("found \"hello\"")));
}

TEST(SpecFile, PointsAtBrokenYaml) {
  EXPECT_THAT(ProblemsOf("name: a\ntraining: { model: [\n"), ElementsAre(HasSubstr("not YAML: ")));
  EXPECT_THAT(ProblemsOf("name: \"open\npriority: 1\n"), ElementsAre(HasSubstr("job.yaml:")));
}

TEST(SpecFile, FollowsAliasesAndRefusesABombOfThem) {
  EXPECT_THAT(Problems(Read("labels: &l { a: b }\nresources: { worker_selector: *l }\n")), IsEmpty());
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) bomb += (j > 0 ? ", " : "") + before;
    bomb += "]\n";
  }
  EXPECT_THAT(ProblemsOf(bomb), ElementsAre(HasSubstr("more than 100000 values when aliases are followed")));
}

TEST(SpecFile, RefusesAnAliasOfItselfMergeKeysAndTags) {
  EXPECT_THAT(ProblemsOf("a: &a [*a]\n"), ElementsAre(HasSubstr("job.yaml:1: ")));
  EXPECT_THAT(ProblemsOf("b: &b { name: x }\n<<: *b\n"), ElementsAre(HasSubstr("merge keys (<<)")));
  EXPECT_THAT(ProblemsOf("name: !!binary aGk=\n"), ElementsAre(HasSubstr("tags are not supported")));
  EXPECT_THAT(ProblemsOf("? [a, b]\n: c\n"), ElementsAre(HasSubstr("stands where a name should")));
}

TEST(SpecFile, RefusesDeepNestingWithoutRunningOutOfStack) {
  for (const int depth : {65, 100'000}) {
    const std::string text = std::string(depth, '[') + std::string(depth, ']');
    EXPECT_THAT(ProblemsOf(text), ElementsAre(HasSubstr("nested deeper than 64 levels"))) << depth;
  }
  EXPECT_THAT(ProblemsOf(std::string(900'000, '[')), SizeIs(1));
  EXPECT_THAT(ProblemsOf(std::string(900'000, '{')), SizeIs(1));
}

TEST(SpecFile, RefusesWhatIsTooLargeOrNoText) {
  EXPECT_THAT(ProblemsOf(std::string(kMaxDocumentBytes + 1, ' ')), ElementsAre(HasSubstr("larger than 1 MiB")));
  EXPECT_THAT(ProblemsOf("name: a\nx: \xff\xfe\n"), ElementsAre(HasSubstr("job.yaml:2: not UTF-8 text")));
  EXPECT_THAT(ProblemsOf(std::string("name: a\0b", 9)), ElementsAre(HasSubstr("NUL byte")));
}

TEST(SpecFile, ShowsNoControlCharactersOfTheFile) {
  for (const std::string& problem : ProblemsOf("\"\\e[31mred\": 1\n")) {
    EXPECT_EQ(problem.find('\x1b'), std::string::npos);
  }
}

TEST(SpecFile, NamesAFileThatIsNotThere) {
  const SpecFile file = ReadSpecFile({.file = "/nowhere/job.yaml", .overrides = {}, .name = ""});
  EXPECT_THAT(Problems(file),
              ElementsAre("/nowhere/job.yaml: no such file; give the path of a job spec, or - for stdin"));
  EXPECT_THAT(Problems(ReadSpecFile({.file = "/", .overrides = {}, .name = ""})), ElementsAre(HasSubstr("a folder")));
}

TEST(SpecFile, ReadsWhatIsWrittenInAFile) {
  const std::string path = ::testing::TempDir() + "/spec_file_test.yaml";
  std::ofstream(path) << kGood;
  EXPECT_THAT(Problems(ReadSpecFile({.file = path, .overrides = {}, .name = ""})), IsEmpty());
}

TEST(SpecFile, KnowsTheLineOfAFieldOrOfWhatHoldsIt) {
  const SpecFile file = Read(kGood);
  EXPECT_EQ(LineOf(file.lines, "training.batch_size"), 8);
  EXPECT_EQ(LineOf(file.lines, "training.model.mlp.hidden[0]"), 3);
  EXPECT_EQ(LineOf(file.lines, "training.precision.loss_scale.init"), 6);
  EXPECT_EQ(LineOf(file.lines, "resources.device"), 0);
}

TEST(SpecOverride, ReplacesOneField) {
  const SpecFile file = Read(kGood, {"training.batch_size=32", "training.model.mlp.hidden=[8, 8]", "labels.team=a.b",
                                     "training.optimizer.adamw.learningRate=1e-4", "name=x: y"});
  ASSERT_THAT(Problems(file), IsEmpty());
  EXPECT_EQ(file.spec.training().batch_size(), 32);
  EXPECT_THAT(file.spec.training().model().mlp().hidden(), ElementsAre(8, 8));
  EXPECT_EQ(file.spec.labels().at("team"), "a.b");
  EXPECT_DOUBLE_EQ(file.spec.training().optimizer().adamw().learning_rate(), 1e-4);
  EXPECT_EQ(file.spec.name(), "x: y");
  EXPECT_DOUBLE_EQ(file.spec.training().optimizer().adamw().weight_decay(), 0.01);
}

TEST(SpecOverride, ReplacesTheOtherMemberOfAChoice) {
  const SpecFile file = Read(kGood, {"training.iterations=10"});
  EXPECT_EQ(file.spec.training().length_case(), v1::TrainingSpec::kIterations);
}

TEST(SpecOverride, UnsetsWithNothing) {
  EXPECT_FALSE(Read(kGood, {"training.batch_size="}).spec.training().has_batch_size());
  EXPECT_EQ(Read(kGood, {"name="}).spec.name(), "");
}

TEST(SpecOverride, RefusesWhatItCanNotSet) {
  EXPECT_THAT(Problems(Read(kGood, {"training.bach_size=1"})),
              ElementsAre("job.yaml: training.bach_size: --set: unknown key \"bach_size\"; did you mean batch_size?"));
  EXPECT_THAT(Problems(Read(kGood, {"training.batch_size"})), ElementsAre(HasSubstr("is not path=value")));
  EXPECT_THAT(Problems(Read(kGood, {"=3"})), ElementsAre(HasSubstr("is not path=value")));
  EXPECT_THAT(Problems(Read(kGood, {"training.batch_size.x=3"})),
              ElementsAre(HasSubstr("has no fields; it takes a whole")));
  EXPECT_THAT(Problems(Read(kGood, {"training.batch_size=many"})),
              ElementsAre(HasSubstr("job.yaml: training.batch_size: --set: expected a whole number")));
  EXPECT_THAT(Problems(Read(kGood, {"training.model.mlp.hidden=[1"})),
              ElementsAre(HasSubstr("--set: a list or a map stands")));
}

TEST(SpecOverride, NameWinsOverTheFile) {
  EXPECT_EQ(ReadSpecText(kGood, {.file = "-", .overrides = {"name=b"}, .name = "c"}).spec.name(), "c");
  EXPECT_EQ(ReadSpecText("{", {.file = "-", .overrides = {}, .name = ""}).shown_name, "stdin");
}

}  // namespace
}  // namespace mantissa::cli
