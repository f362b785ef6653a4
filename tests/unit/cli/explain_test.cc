// mantissa explain: the comments of the .proto files, found by study and by field path.
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/cli/explain/explanation.h"
#include "client/cli/explain/proto_comments.h"
#include "client/cli/output/display_text.h"
#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/study.pb.h"
#include "tests/unit/cli/run_cli.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

std::vector<std::string> LinesOf(const std::string& text) { return absl::StrSplit(text, '\n'); }

// Everything it prints, whatever it takes, without a server.
CliRun Explain(const std::string& path, std::vector<std::string> more = {}) {
  std::vector<std::string> arguments = {"explain"};
  if (!path.empty()) arguments.push_back(path);
  arguments.insert(arguments.end(), more.begin(), more.end());
  return RunCli(arguments);
}

TEST(ProtoComments, AParagraphIsALineAndAHeadingBeginsOne) {
  EXPECT_THAT(ParagraphsOf(" One line,\n and the next.\n\n A second.\n"),
              ElementsAre("One line, and the next.", "A second."));
  EXPECT_THAT(ParagraphsOf(" What it is.\n How to read it: slowly,\n and to the end.\n Limits: none.\n"),
              ElementsAre("What it is.", "How to read it: slowly, and to the end.", "Limits: none."));
  EXPECT_THAT(ParagraphsOf(" It has\n Path: and more.\n"), ElementsAre("It has Path: and more."))
      << "no heading in the midst of a sentence";
  EXPECT_THAT(ParagraphsOf(""), IsEmpty());
  EXPECT_THAT(ParagraphsOf("\n\n"), IsEmpty());
}

TEST(ProtoComments, TheFirstSentenceEndsWhereItEnds) {
  EXPECT_EQ(FirstSentence({"Does it? Yes.", "More."}), "Does it?");
  EXPECT_EQ(FirstSentence({"Scale 0.5 of it. More."}), "Scale 0.5 of it.");
  EXPECT_EQ(FirstSentence({"no end"}), "no end");
  EXPECT_EQ(FirstSentence({}), "");
}

TEST(ProtoComments, MessagesFieldsEnumsAndValuesHaveTheirOwn) {
  const ProtoComments& comments = ProtoComments::Ours();
  EXPECT_THAT(comments.Of("mantissa.v1.MatrixShape"), ElementsAre("A product of matrices: (m, k) times (k, n)."));
  EXPECT_THAT(comments.Of("mantissa.v1.MatrixShape.m"), ElementsAre("1 to 65,536."));
  EXPECT_THAT(comments.Of("mantissa.v1.NumberFormat.FP8_E5M2"), ElementsAre("OCP OFP8: with Inf, largest 57344."));
  EXPECT_THAT(comments.Of("mantissa.v1.PrecisionSpec.Mode")[0], StartsWith("A number format for compute."));
  EXPECT_THAT(comments.Of("nobody.Nothing"), IsEmpty());
}

TEST(Explain, ListsTheStudiesWithAFirstSentence) {
  const CliRun run = Explain("");
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("scaler_study          The presets of loss scaling side by side on one model.\n"));
  const google::protobuf::Descriptor& studies = *v1::StudySpec::descriptor();
  for (int i = 0; i < studies.field_count(); ++i) EXPECT_THAT(run.out, HasSubstr(studies.field(i)->name() + " "));
  EXPECT_THAT(Explain("", {"-o", "name"}).out, StartsWith("precision_comparison\nformat_table\n"));
  const auto json = nlohmann::json::parse(Explain("", {"-o", "json"}).out);
  ASSERT_THAT(json["studies"], SizeIs(8));
  for (const auto& study : json["studies"]) EXPECT_FALSE(study["comment"].get<std::string>().empty());
}

TEST(Explain, AStudyAndItsFields) {
  const std::string text = Explain("precision_comparison").out;
  EXPECT_THAT(text, StartsWith("study.precision_comparison  <PrecisionComparison>\n\nDoes a lower precision train"));
  EXPECT_THAT(text, HasSubstr("\n\nHow to read it: WITHIN_NOISE says"));
  EXPECT_THAT(text, HasSubstr("\nFIELDS\n  training  <TrainingSpec>\n      Required;"));
  EXPECT_THAT(text, HasSubstr("  seeds  <whole number>\n      Runs of each precision"));
  EXPECT_THAT(text, HasSubstr("  precisions  <list of FP32 | TF32 | FP16 | BF16>\n"));
  EXPECT_THAT(text, HasSubstr("mantissa explain report.precision_comparison"));
  EXPECT_EQ(Explain("study.precision_comparison").out, text);
}

TEST(Explain, AFieldOfAJobSpecWhereverItIs) {
  const std::string scale = Explain("training.precision.loss_scale").out;
  EXPECT_THAT(scale, AllOf(HasSubstr("Read in FP16 only."), HasSubstr("The dynamic loss scale."),
                           HasSubstr("  growth_interval  <whole number>\n      Applied steps in a row")));
  EXPECT_EQ(Explain("training.precision.lossScale").out, scale) << "as in files";
  EXPECT_THAT(Explain("precision_comparison.training.precision.loss_scale").out,
              StartsWith("study.precision_comparison.training.precision.loss_scale  <LossScaleSpec>"));
  EXPECT_THAT(Explain("layout_benchmark.shapes[3].k").out,
              StartsWith("study.layout_benchmark.shapes.k  <whole number>"));
  EXPECT_THAT(Explain("retry.initial_backoff").out, StartsWith("retry.initial_backoff  <duration, such as 30s>"));
  EXPECT_THAT(Explain("resources.memory_bytes").out, HasSubstr("<bytes, such as 16GiB>"));
  EXPECT_THAT(Explain("training.model.sequential.layers[0].residual.layers").out, HasSubstr("<list of Layer>"));
  EXPECT_THAT(Explain("job").out, HasSubstr("  training  <TrainingSpec>  one of workload\n"));
}

TEST(Explain, AnEnumSaysWhatItsValuesMean) {
  const std::string text = Explain("training.precision.on_failure").out;
  EXPECT_THAT(text, HasSubstr("\nVALUES\n  CLAMP\n      Go on at the smallest scale;"));
  EXPECT_THAT(text, Not(HasSubstr("UNSPECIFIED")));
}

TEST(Explain, AFieldWithoutACommentHasThatOfItsMessage) {
  EXPECT_THAT(Explain("training.precision").out,
              HasSubstr("  loss_spike  <LossSpikeGuard>\n      Default: a loss that jumps is advice."));
  EXPECT_THAT(Explain("training").out,
              HasSubstr("  precision  <PrecisionSpec>\n      Which type each part of the step runs in"));
}

TEST(Explain, WhatAReportHolds) {
  EXPECT_THAT(Explain("report").out, HasSubstr("What this run cannot tell, a sentence each."));
  EXPECT_THAT(Explain("report.precision_comparison.precisions.speedup").out,
              HasSubstr("FP32's median over this one's"));
}

TEST(Explain, AnUnknownNameIsToldTheNearestOne) {
  const std::map<std::string, std::string> hints = {
      {"precison_comparison", "did you mean precision_comparison?"},
      {"training.precison", "training has no field precison; did you mean precision?"},
      {"loss_scale", "did you mean training.precision.loss_scale or "},
      {"scaler_study.training.precision.loss_scale.growth", "has no field growth; it has preset, init"},
      {"training.batch_size.more", "training.batch_size is a whole number and has no field more"},
      {"labels.team", "labels is a map of texts and has no field team"},
      {"job.nonsense", "a job spec has no field nonsense; it has name, labels"},
      {"qqqqqqqq", "mantissa explain, without a name, lists the studies"},
      {"training..batch_size", "training has no field "},
      {".", "there is no study and no field "}};
  for (const auto& [path, hint] : hints) {
    const CliRun run = Explain(path);
    EXPECT_EQ(run.code, kExitUsage) << path;
    EXPECT_THAT(run.err, HasSubstr(hint)) << path;
    EXPECT_EQ(run.out, "");
  }
  const CliRun hostile = Explain(std::string(100'000, 'x') + "\x1b[2J");
  EXPECT_EQ(hostile.code, kExitUsage);
  EXPECT_THAT(hostile.err, Not(HasSubstr("\x1b")));
  EXPECT_LT(hostile.err.size(), 1000u);
}

TEST(Explain, FitsItsTerminalAndHasOtherForms) {
  for (const std::string& line : LinesOf(Explain("training").out)) EXPECT_LE(DisplayWidth(line), 80) << line;
  const auto json = nlohmann::json::parse(Explain("tensor_core", {"-o", "json"}).out);
  EXPECT_EQ(json["path"], "study.tensor_core");
  EXPECT_EQ(json["fields"][2]["name"], "rounds");
  EXPECT_EQ(json["fields"][2]["comment"][0], "3 to 10,000. Default 30.");
  EXPECT_EQ(Explain("tensor_core", {"-o", "name"}).out, "shapes\nprecisions\nrounds\n");
}

// Every message of a spec and every field of a study, so that none is left without a word.
TEST(Explain, EverythingThatAStudyTakesIsExplained) {
  const google::protobuf::Descriptor& studies = *v1::StudySpec::descriptor();
  for (int i = 0; i < studies.field_count(); ++i) {
    const absl::StatusOr<Explanation> study = ExplainPath(studies.field(i)->name(), ProtoComments::Ours());
    ASSERT_TRUE(study.ok()) << study.status();
    EXPECT_GE(study->comment.size(), 3u) << study->path << " says how it works, how to read it, and its limits";
  }
}

}  // namespace
}  // namespace mantissa::cli
