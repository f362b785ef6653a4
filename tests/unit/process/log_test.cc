#include "process/log.h"

#include <cmath>
#include <limits>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

const WallTime kTime = WallTime(std::chrono::milliseconds(1'767'225'600'007));  // 2026-01-01T00:00:00.007Z

TEST(JsonLogTest, WritesFieldsInOrderWithTheirTypes) {
  EXPECT_EQ(FormatJsonLine(
                kTime, Level::kInfo, "attempt started",
                {{"job", "01arz"}, {"attempt", 2}, {"loss", 0.5}, {"final", true}, {"size", 18446744073709551615u}}),
            R"({"ts":"2026-01-01T00:00:00.007Z","level":"info","msg":"attempt started","job":"01arz","attempt":2,)"
            R"("loss":0.5,"final":true,"size":18446744073709551615})");
}

TEST(JsonLogTest, NumbersThatAreNotFiniteAreStrings) {
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THAT(FormatJsonLine(kTime, Level::kError, "m", {{"a", std::nan("")}, {"b", infinity}, {"c", -infinity}}),
              EndsWith(R"("a":"NaN","b":"Infinity","c":"-Infinity"})"));
}

TEST(JsonLogTest, NothingFromOutsideForgesALine) {
  EXPECT_THAT(FormatJsonLine(kTime, Level::kInfo, "a\n{\"level\":\"error\"}\r\x1b[31m\x7f", {}),
              EndsWith(R"("msg":"a\n{\"level\":\"error\"}\u000d\u001b[31m\u007f"})"));
  EXPECT_THAT(FormatJsonLine(kTime, Level::kInfo, std::string_view("nul\0 c1\xc2\x9b", 9), {}),
              EndsWith(R"("msg":"nul\u0000 c1\u009b"})"));
}

TEST(JsonLogTest, BytesThatAreNotUtf8AreReplaced) {
  const std::string replaced = "\uFFFD";
  const auto message = [](std::string_view text) {
    const std::string line = FormatJsonLine(kTime, Level::kInfo, text, {});
    const std::size_t start = line.find("\"msg\":\"") + 7;
    return line.substr(start, line.size() - 2 - start);
  };
  EXPECT_EQ(message("grüße 漢 😀"), "grüße 漢 😀");
  EXPECT_EQ(message("\xff"), replaced);
  EXPECT_EQ(message("\xc3"), replaced);                                // cut
  EXPECT_EQ(message("\xc0\xaf"), replaced + replaced);                 // overlong
  EXPECT_EQ(message("\xe0\x80\xaf"), replaced + replaced + replaced);  // overlong
  EXPECT_EQ(message("\xed\xa0\x80"), replaced + replaced + replaced);  // a surrogate
  EXPECT_EQ(message("\xf4\x90\x80\x80"), replaced + replaced + replaced + replaced);
}

TEST(LogTest, SecretsAreNeverWritten) {
  const std::vector<LogField> fields = {{"token", "canary-1"},         {"lease_token", "canary-2"},
                                        {"Authorization", "canary-3"}, {"db_password", "canary-4"},
                                        {"client_secret", "canary-5"}, {"tokens", 3}};
  for (const std::string& line :
       {FormatJsonLine(kTime, Level::kInfo, "m", fields), FormatTextLine(kTime, Level::kInfo, "m", fields)}) {
    EXPECT_THAT(line, Not(HasSubstr("canary")));
    EXPECT_THAT(line, HasSubstr("[hidden]"));
    EXPECT_THAT(line, HasSubstr("tokens"));
    EXPECT_THAT(line, HasSubstr("3"));
  }
}

TEST(TextLogTest, IsOneReadableLine) {
  EXPECT_EQ(FormatTextLine(kTime, Level::kWarning, "scale fell",
                           {{"job", "01arz"}, {"why", "two words"}, {"none", ""}, {"scale", 16384.0}}),
            "00:00:00.007 warning scale fell  job=01arz  why=\"two words\"  none=\"\"  scale=16384");
  EXPECT_THAT(FormatTextLine(kTime, Level::kInfo, "a\nb",
                             {{"k",
                               "c\x1b"
                               "d"}}),
              EndsWith("a\\nb  k=c\\u001bd"));
}

TEST(LogTest, AStatusIsAValue) {
  EXPECT_THAT(FormatJsonLine(kTime, Level::kError, "m", {{"error", absl::NotFoundError("no file")}}),
              EndsWith(R"("error":"NOT_FOUND: no file"})"));
}

TEST(LogTest, TimesBeforeTheEpochAreWritten) {
  EXPECT_THAT(FormatJsonLine(WallTime(std::chrono::milliseconds(-1)), Level::kDebug, "m", {}),
              HasSubstr("1969-12-31T23:59:59.999Z"));
}

TEST(LogTest, ReadsLevelsAndFormats) {
  EXPECT_EQ(ParseLevel("warning").value(), Level::kWarning);
  EXPECT_EQ(ParseLevel("debug").value(), Level::kDebug);
  EXPECT_FALSE(ParseLevel("loud").ok());
  EXPECT_EQ(ParseLogFormat("json").value(), LogFormat::kJson);
  EXPECT_EQ(ParseLogFormat("auto").value(), LogFormat::kAuto);
  EXPECT_FALSE(ParseLogFormat("xml").ok());
}

class LogToStderrTest : public testing::Test {
 protected:
  void TearDown() override {
    ConfigureLog({});
    SetLogFields({});
  }
};

TEST_F(LogToStderrTest, FieldsOfTheProcessAreOnEveryLineBehindItsOwn) {
  ConfigureLog({.format = LogFormat::kJson});
  SetLogFields({{"job", "j"}, {"attempt", 2}});
  testing::internal::CaptureStderr();
  Log(Level::kInfo, "plain");
  Log(Level::kInfo, "own", {{"step", 3}, {"job", "another"}});
  SetLogFields({{"job", "k"}});
  Log(Level::kInfo, "next");
  SetLogFields({});
  Log(Level::kInfo, "none");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr(R"("msg":"plain","job":"j","attempt":2})"));
  EXPECT_THAT(text, HasSubstr(R"("msg":"own","step":3,"job":"another","attempt":2})"));
  EXPECT_THAT(text, HasSubstr(R"("msg":"next","job":"k"})"));
  EXPECT_THAT(text, HasSubstr(R"("msg":"none"})"));
}

TEST_F(LogToStderrTest, WritesWholeLinesFromManyThreadsAtAndAboveItsLevel) {
  ConfigureLog({.level = Level::kWarning, .format = LogFormat::kJson});
  testing::internal::CaptureStderr();
  Log(Level::kInfo, "too quiet");
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([i] {
      for (int j = 0; j < 50; ++j) Log(Level::kWarning, "loud", {{"thread", i}, {"percent", "100% {} {0}"}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, Not(HasSubstr("too quiet")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 200);
  EXPECT_THAT(text, HasSubstr(R"("msg":"loud","thread":3,"percent":"100% {} {0}"})"));
}

TEST_F(LogToStderrTest, WithoutATerminalTheDefaultIsJson) {
  ConfigureLog({});
  testing::internal::CaptureStderr();
  Log(Level::kInfo, "hello");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(R"("level":"info","msg":"hello"})"));
}

TEST_F(LogToStderrTest, TextIsWrittenWhenAskedFor) {
  ConfigureLog({.format = LogFormat::kText});
  testing::internal::CaptureStderr();
  Log(Level::kError, "hello");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr(" error   hello\n"));
}

}  // namespace
}  // namespace mantissa::process
