// mantissa plot, against a server.
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/plot_records.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/watch_frames.h"

namespace mantissa::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class PlotCommandTest : public ::testing::Test {
 protected:
  PlotCommandTest() {
    fs::create_directories(folder_);
    server_.jobs().AddJob(ExampleJob());
  }
  ~PlotCommandTest() override { fs::remove_all(folder_); }

  void AddRecords() {
    server_.jobs().AddHistory(PlotSegment(LearningRecords()));
    server_.jobs().AddEvent(PlotEvaluated(40, 0.05));
  }

  CliRun Run(std::vector<std::string> arguments, const CliWorld& world = {}) {
    arguments.insert(arguments.begin(), {"plot", "digits-fp16"});
    arguments.insert(arguments.end(), {"--address", server_.address()});
    return RunCli(arguments, world);
  }

  static std::string ReadAll(const fs::path& path) {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }
  // Of a PNG, from its header.
  static int NumberAt(const std::string& bytes, std::size_t at) {
    int number = 0;
    for (std::size_t i = at; i < at + 4; ++i) number = number * 256 + static_cast<unsigned char>(bytes.at(i));
    return number;
  }

  const fs::path folder_ = fs::path(::testing::TempDir()) / ("plot-" + std::to_string(::getpid()));
  const std::string file_ = (folder_ / "plot.png").string();
  FakeServer server_;
};

TEST_F(PlotCommandTest, AsksForWhatTheWidthCanShowAndDrawsIt) {
  AddRecords();
  const CliRun run = Run({}, {.width = 100});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_THAT(run.out, AllOf(StartsWith("digits-fp16   RUNNING   attempt 1   FP16   40 records\n"),
                             HasSubstr("loss scale   last 16384"), HasSubstr("2 iterations skipped (5.0 %)"),
                             HasSubstr("●"), Not(HasSubstr("\x1b"))));
  EXPECT_EQ(server_.jobs().queried().front().max_points(), 800) << "four for each of 2 x 100 dots";
  EXPECT_THAT(Run({"--width", "20"}).err, HasSubstr("--width: 20 is not between 40 and 1000"));
}

TEST_F(PlotCommandTest, ALocaleWithoutUtf8GetsAscii) {
  AddRecords();
  const CliRun run = Run({}, {.environment = {{"LANG", "C"}}});
  for (const char c : run.out) ASSERT_LT(static_cast<unsigned char>(c), 0x80) << run.out;
}

TEST_F(PlotCommandTest, ColoursAreForTerminalsThatWantThem) {
  AddRecords();
  EXPECT_THAT(Run({}, {.terminal = true}).out, HasSubstr("\x1b["));
  EXPECT_THAT(Run({}, {.terminal = true, .environment = {{"LANG", "C.UTF-8"}, {"NO_COLOR", "1"}}}).out,
              Not(HasSubstr("\x1b[")));
}

TEST_F(PlotCommandTest, APictureHasTheSizeAskedForAndReplacesNothingUnasked) {
  AddRecords();
  const CliRun drawn = Run({"--png", file_, "--width", "640", "--height", "400"});
  EXPECT_EQ(drawn.code, kExitOk) << drawn.err;
  EXPECT_THAT(drawn.out, HasSubstr("640 x 400 pixels"));
  const std::string png = ReadAll(file_);
  ASSERT_THAT(png, StartsWith("\x89PNG\r\n\x1a\n"));
  EXPECT_EQ(NumberAt(png, 16), 640);
  EXPECT_EQ(NumberAt(png, 20), 400);

  const CliRun again = Run({"--png", file_});
  EXPECT_EQ(again.code, kExitError);
  EXPECT_THAT(again.err, HasSubstr("is already there; replace it with --force, or choose another with --png"));
  EXPECT_EQ(ReadAll(file_), png);
  EXPECT_EQ(Run({"--png", file_, "--force"}).code, kExitOk);
  EXPECT_EQ(NumberAt(ReadAll(file_), 16), 1280);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "no part is left";
}

TEST_F(PlotCommandTest, WritesIntoNoDeviceAndSaysWhatIsWrongWithAFolder) {
  AddRecords();
  const std::string pipe = (folder_ / "pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_THAT(Run({"--png", pipe, "--force"}).err, HasSubstr("--png: " + pipe + " is no regular file"));
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_THAT(Run({"--png", (folder_ / "none/plot.png").string()}).err, HasSubstr("make the folder first"));
}

TEST_F(PlotCommandTest, APictureGoesToStdoutWhenAsked) {
  AddRecords();
  EXPECT_THAT(Run({"--png", "-"}).out, StartsWith("\x89PNG\r\n\x1a\n"));
}

TEST_F(PlotCommandTest, AJobWithoutRecordsIsSaidToHaveNoneAndLeavesNoPicture) {
  const CliRun run = Run({});
  EXPECT_EQ(run.code, kExitOk);
  EXPECT_THAT(run.out, IsEmpty());
  EXPECT_THAT(run.err, HasSubstr("digits-fp16 has no records yet (it is RUNNING); there is nothing to draw"));
  EXPECT_EQ(Run({"--png", file_}).code, kExitError);
  EXPECT_FALSE(fs::exists(file_));
}

TEST_F(PlotCommandTest, RefusesWhatItDoesNotDo) {
  AddRecords();
  EXPECT_EQ(Run({"-o", "json"}).code, kExitUsage);
  EXPECT_EQ(Run({"--loss-axis", "round"}).code, kExitUsage);
  EXPECT_EQ(Run({"--png", file_, "--width", "100"}).code, kExitUsage);
  EXPECT_EQ(RunCli({"plot", "nobody", "--address", server_.address()}).code, kExitNotFound);
}

}  // namespace
}  // namespace mantissa::cli
