// Records as programs get them.
#include <cmath>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/cli/watch/record_cells.h"
#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

class HistoryTest : public ::testing::Test {
 protected:
  HistoryTest() {
    server_.jobs().AddJob(ExampleJob());
    const double nan = std::numeric_limits<double>::quiet_NaN();
    server_.jobs().AddHistory(RecordsSegment(
        {{.iteration = 1, .step = 1, .loss = 0.1}, {.iteration = 2, .step = 1, .loss = nan, .grad_norm = std::nullopt}},
        1));
    v1::Segment gap;
    gap.set_attempt(1);
    gap.set_first_sequence(3);
    gap.set_count(1);
    gap.mutable_gap()->set_reason("the worker died");
    gap.mutable_gap()->mutable_summary()->set_records(7);
    server_.jobs().AddHistory(gap);
    server_.jobs().AddHistory(RecordsSegment({{.iteration = 10, .step = 9, .loss = 1.0 / 3}}, 4, 2));
  }

  CliRun Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"history", "digits-fp16"});
    arguments.insert(arguments.end(), {"--address", server_.address()});
    return RunCli(arguments);
  }

  FakeServer server_;
};

TEST_F(HistoryTest, IsCsvWithEveryPageAndSaysWhatIsMissing) {
  const CliRun run = Run({"--columns", "iteration,loss,grad_norm,phase", "-o", "csv"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_EQ(run.out,
            "sequence,attempt,iteration,loss,grad_norm,phase\n"
            "1,1,1,0.1,0.71,STEADY\n"
            "2,1,2,NaN,,STEADY\n"
            "4,2,10,0.3333333333333333,0.71,STEADY\n");
  EXPECT_THAT(run.err, HasSubstr("records are missing after sequence 2 (attempt 1): the worker died"));
  EXPECT_THAT(server_.jobs().queried().front().columns(),
              ElementsAre(v1::Column::ITERATION, v1::Column::LOSS, v1::Column::GRAD_NORM, v1::Column::PHASE));
  EXPECT_THAT(Run({}).out, StartsWith("sequence,attempt,iteration,step,lineage,time_unix_nanos,loss,"));
}

TEST_F(HistoryTest, IsOneJsonObjectWithNumbersAsTheyAre) {
  const CliRun run = Run({"-o", "json", "--from", "1", "--to", "4"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  const nlohmann::json json = nlohmann::json::parse(run.out);
  ASSERT_EQ(json["records"].size(), 3u);
  EXPECT_EQ(json["records"][0]["loss"], 0.1);
  EXPECT_EQ(json["records"][1]["loss"], "NaN");
  EXPECT_FALSE(json["records"][1].contains("grad_norm")) << "absent is not NaN";
  EXPECT_EQ(json["records"][2]["loss"], 1.0 / 3);
  EXPECT_EQ(json["records"][2]["attempt"], 2);
  EXPECT_EQ(json["gaps"][0]["records"], 7);
  EXPECT_EQ(server_.jobs().queried().front().range().to(), 4);
}

TEST_F(HistoryTest, ThinnedSaysWhatEachRowStandsFor) {
  v1::Segment thinned = RecordsSegment({{.iteration = 20, .loss = 0.5}, {.iteration = 30, .loss = 0.25}}, 5, 2);
  thinned.set_through_sequence(25);
  const auto add = [&](v1::Column::Standard standard, v1::Column::Statistic statistic, double first, double second) {
    v1::Column& column = *thinned.mutable_records()->add_columns();
    column.set_standard(standard);
    column.set_statistic(statistic);
    column.mutable_doubles()->add_values(first);
    column.mutable_doubles()->add_values(second);
  };
  add(v1::Column::LOSS, v1::Column::MINIMUM, 0.4, 0.2);
  add(v1::Column::LOSS, v1::Column::MAXIMUM, 0.6, std::numeric_limits<double>::quiet_NaN());
  add(v1::Column::RECORDS, v1::Column::STATISTIC_UNSPECIFIED, 10, 11);
  add(v1::Column::SKIPPED_RECORDS, v1::Column::STATISTIC_UNSPECIFIED, 1, 0);
  server_.jobs().AddHistory(thinned);
  const CliRun run = Run({"--columns", "iteration,loss", "--max-points", "500"});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, StartsWith("sequence,attempt,iteration,loss,loss_min,loss_max,records,skipped_records\n"
                                  "1,1,1,0.1,,,,\n"));
  EXPECT_THAT(run.out, ::testing::EndsWith("\n14,2,20,0.5,0.4,0.6,10,1\n25,2,30,0.25,0.2,NaN,11,0\n"));
  EXPECT_EQ(server_.jobs().queried().front().max_points(), 500);
  EXPECT_EQ(Run({"--max-points", "65537"}).code, kExitUsage);
}

TEST_F(HistoryTest, RefusesWhatItCannotPrint) {
  const CliRun column = Run({"--columns", "lost"});
  EXPECT_EQ(column.code, kExitUsage);
  EXPECT_THAT(column.err, HasSubstr("--columns: there is no column lost; there are iteration, step,"));
  EXPECT_EQ(Run({"-o", "yaml"}).code, kExitUsage);
  EXPECT_EQ(Run({"--from", "0"}).code, kExitUsage);
  EXPECT_THAT(RunCli({"list", "-o", "csv"}).err, HasSubstr("only history and report print csv"));
}

TEST(RecordCells, ReadBackAsTheSameBits) {
  const std::vector<double> numbers = {0.1, 1e-310, 1e300, -0.0, 123456789.123456789, 5e-324};
  v1::RecordColumns records;
  v1::Column& column = *records.add_columns();
  column.set_standard(v1::Column::LOSS);
  for (const double number : numbers) column.mutable_doubles()->add_values(number);
  column.mutable_doubles()->add_values(-std::numeric_limits<double>::infinity());
  RecordCells cells(records, {{v1::Column::LOSS}, {v1::Column::GRAD_NORM}});
  for (const double number : numbers) {
    const std::vector<RecordCell> row = cells.Next();
    EXPECT_EQ(std::signbit(std::strtod(row[0].text.c_str(), nullptr)), std::signbit(number));
    EXPECT_EQ(std::strtod(row[0].text.c_str(), nullptr), number) << row[0].text;
    EXPECT_TRUE(row[0].is_number);
    EXPECT_EQ(row[1].text, "");
  }
  EXPECT_EQ(cells.Next()[0].text, "-Infinity");
  EXPECT_EQ(cells.Next()[0].text, "") << "beyond the last row";
}

TEST(RecordCells, NamesCodesAndKeepsThoseItDoesNotKnow) {
  v1::RecordColumns records;
  v1::Column& cause = *records.add_columns();
  cause.set_standard(v1::Column::SKIP_CAUSE);
  cause.set_present("\x06");  // not the first row
  cause.mutable_integers()->add_values(v1::SkipCause::OVERFLOW);
  cause.mutable_integers()->add_values(99);
  RecordCells cells(records, {{v1::Column::SKIP_CAUSE}});
  EXPECT_EQ(cells.Next()[0].text, "");
  EXPECT_EQ(cells.Next()[0].text, "OVERFLOW");
  EXPECT_EQ(cells.Next()[0].text, "99");
}

}  // namespace
}  // namespace mantissa::cli
