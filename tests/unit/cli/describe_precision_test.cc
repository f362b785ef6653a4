#include <fstream>
#include <string>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/cli/exit_code.h"
#include "tests/unit/cli/run_cli.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kSpec[] =
    "name: sizes\n"
    "training:\n"
    "  model: {gpt: {layers: 2, d_model: 64, heads: 2, context: 32}}\n"
    "  data: {train: {text: {files: [data:a]}}}\n";

class DescribePrecisionTest : public ::testing::Test {
 protected:
  // No server anywhere near.
  static CliRun Describe(const std::string& spec, std::vector<std::string> more = {}) {
    // Tests of this file run side by side, each in a process of its own.
    const std::string path = ::testing::TempDir() + "describe_precision-" + std::to_string(::getpid()) + ".yaml";
    std::ofstream(path) << spec;
    std::vector<std::string> arguments = {"describe-precision", path, "--address", "127.0.0.1:1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    CliRun run = RunCli(arguments);
    ::unlink(path.c_str());
    return run;
  }
};

TEST_F(DescribePrecisionTest, TellsModuleByModuleInWhatFormatAndHowMuch) {
  const CliRun run = Describe(kSpec);
  EXPECT_EQ(run.code, kExitOk);
  EXPECT_THAT(run.out, AllOf(HasSubstr("blocks.*.attention.qkv"), HasSubstr("2 x Linear"), HasSubstr("24,960"),
                             HasSubstr("float32 97.5 KiB"), HasSubstr("bfloat16 48.0 KiB")));
  EXPECT_THAT(run.out, AllOf(HasSubstr("mode BF16: weights in float32, cast to bfloat16 where they are used"),
                             HasSubstr("less than in FP32")));
  EXPECT_THAT(run.out, AllOf(HasSubstr("matmul"), HasSubstr("softmax"), HasSubstr("the widest it read")));
}

TEST_F(DescribePrecisionTest, TellsTheStorageApart) {
  EXPECT_THAT(Describe(kSpec, {"--set", "training.precision.storage=MASTER_FP32"}).out,
              HasSubstr("weights stored in bfloat16 beside float32 masters"));
  const CliRun full = Describe(kSpec, {"--set", "training.precision.mode=FP32"});
  EXPECT_THAT(full.out, AllOf(HasSubstr("mode FP32\n"), HasSubstr("as much as in FP32"), Not(HasSubstr("bfloat16"))));
}

TEST_F(DescribePrecisionTest, TellsModulesInAPrecisionOfTheirOwnApart) {
  const CliRun run =
      Describe(kSpec, {"--set", "training.precision.overrides=[{match: blocks.1.attention.qkv, compute: FP32}]"});
  EXPECT_THAT(run.out, AllOf(HasSubstr("blocks.1.attention.qkv"), HasSubstr("blocks.*.attention.qkv"),
                             HasSubstr("; 1 override\n"), HasSubstr("low-precision weights")));
  const CliRun wrong = Describe(kSpec, {"--set", "training.precision.overrides=[{match: haed, compute: FP32}]"});
  EXPECT_NE(wrong.code, kExitOk);
  EXPECT_THAT(wrong.err, HasSubstr("the nearest is \"head\""));
}

TEST_F(DescribePrecisionTest, SaysWhereAFormatMayBeEmulated) {
  const CliRun run = Describe(kSpec, {"--set", "training.precision={mode: TF32, emulate: true}"});
  EXPECT_THAT(run.out, AllOf(HasSubstr("mode TF32"), HasSubstr("EMULATED where the device has no arithmetic"),
                             HasSubstr("tensorfloat32")));
}

TEST_F(DescribePrecisionTest, SaysWhatTheFilesDecide) {
  const CliRun run =
      Describe("training: {model: {mlp: {hidden: [8]}}, data: {train: {idx: {images: data:a, labels: data:b}}}}\n");
  EXPECT_EQ(run.code, kExitOk);
  EXPECT_THAT(run.out, AllOf(HasSubstr("float32 ?"), HasSubstr("bfloat16 ?"), Not(HasSubstr("-  bfloat16")),
                             HasSubstr("the data's files decide what is marked ?"), Not(HasSubstr("in all"))));
}

TEST_F(DescribePrecisionTest, PrintsOneDocumentForMachines) {
  const CliRun run = Describe(kSpec, {"-o", "json"});
  EXPECT_EQ(run.code, kExitOk);
  const nlohmann::json report = nlohmann::json::parse(run.out);
  EXPECT_EQ(report["name"], "sizes");
  EXPECT_EQ(report["mode"], "BF16");
  EXPECT_EQ(report["storage"], "FP32_PARAMETERS");
  EXPECT_EQ(report["sizes_known"], true);
  const nlohmann::json& qkv = report["modules"][3];
  EXPECT_EQ(qkv["path"], "blocks.*.attention.qkv");
  EXPECT_EQ(qkv["count"], 24960);
  EXPECT_EQ(qkv["weights"]["format"], "bfloat16");
  EXPECT_EQ(qkv["weights"]["bytes"], 2 * 2 * 192 * 64);
  EXPECT_EQ(report["bytes"]["parameters"], report["fp32_bytes"]["parameters"]);
  EXPECT_GT(report["fp32_bytes"]["total"], report["bytes"]["total"]);
  EXPECT_EQ(report["operations"].size(), 9u);
  EXPECT_THAT(Describe(kSpec, {"-o", "yaml"}).out, HasSubstr("mode: BF16"));
  EXPECT_THAT(Describe(kSpec, {"-o", "name"}).out, HasSubstr("token_embedding\nposition_embedding\n"));
}

TEST_F(DescribePrecisionTest, ABadSpecIsRefusedWithItsFaults) {
  const CliRun run = Describe("training:\n  batch_size: 0\n");
  EXPECT_EQ(run.code, kExitUsage);
  EXPECT_THAT(run.err, AllOf(HasSubstr(".yaml:2: training.batch_size: "), HasSubstr("[OUT_OF_RANGE]")));
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(Describe("training: [").code, kExitUsage);
}

}  // namespace
}  // namespace mantissa::cli
