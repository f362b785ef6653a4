#include <cmath>
#include <limits>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/cli/console.h"
#include "client/cli/output/display_text.h"
#include "client/cli/output/message_text.h"
#include "client/cli/output/number_text.h"
#include "client/cli/output/table.h"
#include "client/cli/spec/spec_file.h"
#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/job_service.pb.h"

namespace mantissa::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Job JobWithNan() {
  v1::Job job;
  job.set_id("01jabcdefghjkmnpqrstvwxyz0");
  job.mutable_spec()->set_name("true");
  job.mutable_spec()->mutable_training()->set_seed(18446744073709551615ULL);
  job.mutable_progress()->set_loss(std::numeric_limits<double>::quiet_NaN());
  job.mutable_progress()->set_grad_norm(std::numeric_limits<double>::infinity());
  return job;
}

TEST(JsonOutput, IsProto3JsonWithTheNamesOfTheProto) {
  const nlohmann::json json = nlohmann::json::parse(ToJson(JobWithNan()));
  EXPECT_EQ(json["progress"]["loss"], "NaN");
  EXPECT_EQ(json["progress"]["grad_norm"], "Infinity");
  EXPECT_EQ(json["spec"]["training"]["seed"], "18446744073709551615");
  EXPECT_EQ(json["progress"]["iteration"], 0) << "a field without presence is printed though it is zero";
  EXPECT_EQ(json["state"], "STATE_UNSPECIFIED");
  EXPECT_FALSE(json["progress"].contains("loss_scale")) << "an optional field that is not set is left out";
  EXPECT_FALSE(json["spec"]["training"].contains("batch_size"));
}

TEST(JsonOutput, PutsAListUnderItsName) {
  const v1::Job job = JobWithNan();
  EXPECT_EQ(nlohmann::json::parse(ToJson("jobs", {&job, &job}))["jobs"].size(), 2);
  EXPECT_EQ(ToJson("jobs", {}), "{\n  \"jobs\": []\n}\n");
}

TEST(JsonOutput, WritesStreamsOneMessageALine) {
  v1::WatchJobResponse frame;
  frame.set_next_cursor("c\n1");
  const std::string line = ToJsonLine(frame);
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST(YamlOutput, ReadsBackAsTheSameSpec) {
  v1::JobSpec spec;
  spec.set_name("null");
  (*spec.mutable_labels())["a: b"] = "- c\n\"d\"";
  (*spec.mutable_labels())["on"] = "1.5";
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(8);
  spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(9);
  spec.mutable_training()->set_batch_size(3);
  spec.mutable_training()->set_max_grad_norm(std::numeric_limits<double>::infinity());
  spec.mutable_training()->mutable_data()->mutable_train()->mutable_text()->add_files("data:x y");
  spec.mutable_timeouts()->mutable_stall()->set_seconds(90);
  spec.mutable_training()->add_parameter_groups()->set_match("a");
  spec.mutable_training()->add_parameter_groups()->set_match("#b");
  const std::string yaml = JsonToYaml(ToJson(spec));
  const SpecFile read = ReadSpecText(yaml, {.file = "x", .overrides = {}, .name = ""});
  EXPECT_TRUE(read.problems.empty()) << yaml << (read.problems.empty() ? "" : FormatProblem("x", read.problems[0]));
  EXPECT_EQ(ToJson(read.spec), ToJson(spec)) << yaml;
}

TEST(YamlOutput, QuotesWhatYamlWouldTakeForSomethingElse) {
  EXPECT_EQ(JsonToYaml(R"({"a":"true","b":"12","c":"plain-1.txt","d":[],"e":{},"f":[{"g":1,"h":"x"}],"i":null})"),
            "a: \"true\"\nb: \"12\"\nc: plain-1.txt\nd: []\ne: {}\nf:\n  - g: 1\n    h: x\ni: null\n");
}

TEST(NumberText, IsShort) {
  EXPECT_EQ(ShortNumber(0.0812), "0.0812");
  EXPECT_EQ(ShortNumber(14.23), "14.2");
  EXPECT_EQ(ShortNumber(0.0021), "2.1e-3");
  EXPECT_EQ(ShortNumber(0.958), "0.958");
  EXPECT_EQ(ShortNumber(1234.5), "1234");
  EXPECT_EQ(ShortNumber(1.5e10), "1.5e10");
  EXPECT_EQ(ShortNumber(0), "0");
  EXPECT_EQ(ShortNumber(std::nan("")), "NaN");
  EXPECT_EQ(ShortNumber(-INFINITY), "-Inf");
  EXPECT_EQ(CompactCount(14230), "14.2k");
  EXPECT_EQ(CompactCount(999.6), "1.00k");
  EXPECT_EQ(CompactCount(3.2e6), "3.20M");
  EXPECT_EQ(ScaleText(16384), "16384");
  EXPECT_EQ(ScaleText(4294967296.0), "4294967296");
  EXPECT_EQ(ScaleText(8589934592.0), "8.59e9");
  EXPECT_EQ(GroupedCount(9610), "9,610");
  EXPECT_EQ(GroupedCount(-1234567), "-1,234,567");
  EXPECT_EQ(GroupedCount(-123), "-123");
  EXPECT_EQ(SizeText(512), "512 B");
  EXPECT_EQ(SizeText(1 << 20), "1.00 MiB");
}

TEST(NumberText, TellsSpansAndAges) {
  EXPECT_EQ(ClockSpan(std::chrono::seconds(3)), "0:03");
  EXPECT_EQ(ClockSpan(std::chrono::seconds(765)), "12:45");
  EXPECT_EQ(ClockSpan(std::chrono::seconds(11229)), "3:07:09");
  EXPECT_EQ(ClockSpan(std::chrono::seconds(187200)), "2d 4:00:00");
  EXPECT_EQ(SpanText(0.0312), "31ms");
  EXPECT_EQ(SpanText(0.9999), "1.00s");
  EXPECT_EQ(SpanText(4.21), "4.21s");
  EXPECT_EQ(SpanText(185), "3m 05s");
  EXPECT_EQ(SpanText(7800), "2h 10m");
  google::protobuf::Timestamp time;
  EXPECT_EQ(LocalDateTime(time), "-");
  time.set_seconds(1'000'000);
  const auto at = [](int seconds) { return std::chrono::system_clock::time_point(std::chrono::seconds(seconds)); };
  EXPECT_EQ(AgeText(time, at(1'000'059)), "59s");
  EXPECT_EQ(AgeText(time, at(1'000'060)), "1m");
  EXPECT_EQ(AgeText(time, at(1'003'600)), "1h");
  EXPECT_EQ(AgeText(time, at(999'000)), "0s") << "a clock that is behind";
}

TEST(DisplayText, LetsNothingThroughThatDrivesATerminal) {
  EXPECT_EQ(ForTerminal("a\x1b[2Jb\x7f\r\n\tc"), "a\uFFFD[2Jb\uFFFD\uFFFD  c");
  EXPECT_EQ(ForTerminal("\xc2\x9b"
                        "31m"),
            "\uFFFD31m")
      << "the eight-bit CSI";
  EXPECT_EQ(ForTerminal("a\u202Eb"), "a\uFFFDb") << "right-to-left override";
  EXPECT_EQ(ForTerminal("\xff\xc0\xaf"), "\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(ForTerminal("größe 模型 →"), "größe 模型 →");
}

TEST(DisplayText, CountsColumns) {
  EXPECT_EQ(DisplayWidth("größe"), 5);
  EXPECT_EQ(DisplayWidth("模型"), 4);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1);
  EXPECT_EQ(DisplayWidth("━╸─→·"), 5);
}

TEST(DisplayText, ClipsToColumns) {
  EXPECT_EQ(Clip("abcdef", 6), "abcdef");
  EXPECT_EQ(Clip("abcdef", 5), "abcd…");
  EXPECT_EQ(Clip("模型模型", 5), "模型…");
  EXPECT_EQ(Clip("模型模型", 4), "模…") << "a wide character is not halved";
  EXPECT_EQ(Clip("abc", 1), "a");
  EXPECT_EQ(Clip("abc", 0), "");
}

TEST(DisplayText, HasAsciiForOurOwnSigns) {
  EXPECT_EQ(ToAscii("32768 → 16384 · ━╸─ ▁█ …"), "32768 -> 16384 - =>- _# ...");
  EXPECT_EQ(ToAscii("größe"), "gr??e");
}

TEST(Tables, AlignAndClip) {
  Table table({"NAME", ">N", "TEXT"});
  table.Add({"模型", "7", "long text"});
  table.Add({"a", "1234", ""});
  EXPECT_EQ(table.Text(0), "NAME     N  TEXT\n模型     7  long text\na     1234  -\n");
  EXPECT_EQ(table.Text(14), "NAME     N  T…\n模型     7  l…\na     1234  -\n");
}

TEST(ConsoleLook, DecidesOnColour) {
  const auto environment = [](std::string no_color, std::string term) {
    return [=](const std::string& name) -> std::optional<std::string> {
      if (name == "NO_COLOR") return no_color;
      if (name == "TERM") return term;
      return std::nullopt;
    };
  };
  EXPECT_TRUE(WantsColor(ColorChoice::kAuto, true, environment("", "xterm")));
  EXPECT_FALSE(WantsColor(ColorChoice::kAuto, false, environment("", "xterm")));
  EXPECT_FALSE(WantsColor(ColorChoice::kAuto, true, environment("1", "xterm")));
  EXPECT_FALSE(WantsColor(ColorChoice::kAuto, true, environment("", "dumb")));
  EXPECT_TRUE(WantsColor(ColorChoice::kAlways, false, environment("1", "dumb")));
  EXPECT_FALSE(WantsColor(ColorChoice::kNever, true, environment("", "xterm")));
}

TEST(ConsoleLook, ReadsTheLocale) {
  const auto utf8 = [](std::map<std::string, std::string> set) {
    return LocaleIsUtf8([=](const std::string& name) -> std::optional<std::string> {
      const auto found = set.find(name);
      return found == set.end() ? std::nullopt : std::optional(found->second);
    });
  };
  EXPECT_TRUE(utf8({{"LANG", "en_GB.UTF-8"}}));
  EXPECT_TRUE(utf8({{"LC_ALL", "C.utf8"}, {"LANG", "C"}}));
  EXPECT_FALSE(utf8({{"LC_ALL", "C"}, {"LANG", "en_GB.UTF-8"}}));
  EXPECT_FALSE(utf8({}));
}

}  // namespace
}  // namespace mantissa::cli
