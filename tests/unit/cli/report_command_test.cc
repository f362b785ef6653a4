// mantissa report: its forms, and what it asks a server for.
#include <algorithm>
#include <filesystem>
#include <string>
#include <unistd.h>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/cli/report/report_csv.h"
#include "client/cli/report/report_table.h"
#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/sample_reports.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kId[] = "01jz0000000000000000000001";

TEST(ReportCsvTest, NumbersThatAreNoneAreNamedAsInJson) {
  const v1::Report report = ReportFrom(R"pb(
    format_table {
      values { format: FP16 value: nan rounded: inf outcome: OVERFLOW }
      values { format: FP8_E4M3 value: -inf rounded: nan outcome: OUT_OF_RANGE }
    }
  )pb");
  const ReportSection section = SectionsOf(report)[0];
  EXPECT_EQ(ReportCsv(section),
            "format,value,rounded,outcome,relative_error\nFP16,NaN,Infinity,OVERFLOW,\nFP8_E4M3,-Infinity,NaN,"
            "OUT_OF_RANGE,\n");
}

TEST(ReportCsvTest, NamesKeepTheirUnitsAndNumbersTheirDigits) {
  EXPECT_EQ(ReportCsv(SectionsOf(FailureReport())[0]),
            R"(mode,precision,outcome,quantity,reference,low,remedied,what_happened,remedy,note
SMALL_EPSILON,FP16,REMEDIED,largest update,0.1,Infinity,0.1001,"1e-8 is 0 in FP16, and a moment of 0 was divided by it: the update is Inf.","Moments and epsilon in FP32, as our optimizers keep them.",
LARGE_REDUCTION,BF16,NOT_SHOWN,"sum of 100,000 ones",1e+05,1e+05,,The sum was kept in FP32.,,
)");
  EXPECT_THAT(ReportCsv(SectionsOf(ComparisonReport())[0]),
              HasSubstr("BF16,WITHIN_NOISE,0.0015,0.00171,42666,1.42,1.38,1.45,"));
}

TEST(ReportCsvTest, ATextIsOneLineThatCannotMoveTheCursor) {
  v1::Report report = ReportFrom("tensor_core { products { m: 1 n: 2 k: 3 } }");
  report.mutable_tensor_core()->mutable_products(0)->set_note("a \"b\",\nc\x1b[2J");
  const std::string csv = ReportCsv(SectionsOf(report)[0]);
  EXPECT_THAT(csv, AllOf(HasSubstr("\"a \"\"b\"\", c"), Not(HasSubstr("\x1b"))));
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 2);
}

class ReportCommandTest : public ::testing::Test {
 protected:
  ReportCommandTest() {
    v1::Job job;
    job.set_id(kId);
    job.set_name("digits-precisions");
    job.set_state(v1::Job::SUCCEEDED);
    server_.jobs().AddJob(job);
    server_.jobs().SetReport(ComparisonReport());
  }

  CliRun Run(std::vector<std::string> arguments, const CliWorld& world = {}) {
    arguments.insert(arguments.begin(), {"report", kId});
    arguments.insert(arguments.end(), {"--address", server_.address()});
    return RunCli(arguments, world);
  }

  FakeServer server_;
};

TEST_F(ReportCommandTest, PrintsWhatWasFoundAtTheTerminalsWidth) {
  const CliRun run = Run({}, {.terminal = true, .width = 100});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr(absl::StrCat("and 3 rows more: mantissa report ", kId, " --address ")));
  ASSERT_THAT(server_.jobs().reports_asked_for(), SizeIs(1));
  EXPECT_EQ(server_.jobs().reports_asked_for()[0].job_id(), kId);
  EXPECT_EQ(server_.jobs().reports_asked_for()[0].section(), "");
}

TEST_F(ReportCommandTest, AsksForTheSection) {
  EXPECT_EQ(Run({"--section", "curves"}).code, kExitOk);
  EXPECT_EQ(server_.jobs().reports_asked_for()[0].section(), "curves");
}

TEST_F(ReportCommandTest, PrintsTheFirstTableAsCsv) {
  const CliRun run = Run({"-o", "csv"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_EQ(run.out, ReportCsv(SectionsOf(ComparisonReport())[0]));
  server_.jobs().SetReport(v1::Report());
  EXPECT_EQ(Run({"-o", "csv"}).code, kExitNotFound);
}

TEST_F(ReportCommandTest, PrintsTheMessageAsJson) {
  const auto json = nlohmann::json::parse(Run({"-o", "json"}).out);
  EXPECT_EQ(json["precision_comparison"]["precisions"][1]["verdict"], "WITHIN_NOISE");
  EXPECT_EQ(json["precision_comparison"]["precisions"][0]["peak_memory_bytes"], "12582912");
  EXPECT_EQ(json["partial"], false);
  EXPECT_THAT(Run({"-o", "yaml"}).out, HasSubstr("verdict: WITHIN_NOISE"));
  EXPECT_EQ(Run({"-o", "name"}).out, "precisions\ncurves\n");
}

TEST_F(ReportCommandTest, SaysWhyThereIsNone) {
  server_.jobs().FailNext("GetReport", ErrorWith(grpc::StatusCode::NOT_FOUND,
                                                 "job_id: the study has no report yet: it is RUNNING", "NO_REPORT"));
  const CliRun run = Run({});
  EXPECT_EQ(run.code, kExitNotFound);
  EXPECT_THAT(run.err, HasSubstr("it is RUNNING"));
  EXPECT_EQ(run.out, "");
}

TEST_F(ReportCommandTest, HasAnAsciiForm) {
  v1::Report report = FailureReport();
  report.set_finding("1 → 2");
  server_.jobs().SetReport(report);
  EXPECT_THAT(Run({}, {.environment = {{"LANG", "C"}}}).out, HasSubstr("1 -> 2"));
}

TEST_F(ReportCommandTest, DrawsCurvesIntoAFile) {
  const std::string file = absl::StrCat(::testing::TempDir(), "/report_", ::getpid(), ".png");
  const CliRun run = Run({"--png", file});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, HasSubstr("1280 x 960 pixels"));
  EXPECT_THAT(Run({"--png", "-"}).out, HasSubstr("PNG"));
  EXPECT_EQ(Run({"--png", file}).code, kExitError) << "it is there";
  EXPECT_EQ(Run({"--png", file, "--force"}).code, kExitOk);
  std::filesystem::remove(file);
  EXPECT_EQ(Run({"--png", file, "-o", "csv"}).code, kExitUsage);
  EXPECT_EQ(Run({"--png", file, "--section", "curves"}).code, kExitUsage);
  server_.jobs().SetReport(FailureReport());
  const CliRun none = Run({"--png", file});
  EXPECT_EQ(none.code, kExitError);
  EXPECT_THAT(none.err, HasSubstr("of failure_modes there is no picture"));
  EXPECT_FALSE(std::filesystem::exists(file));
}

}  // namespace
}  // namespace mantissa::cli
