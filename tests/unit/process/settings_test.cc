#include "process/settings.h"

#include <filesystem>
#include <fstream>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "process/settings_flags.h"

namespace mantissa::process {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

struct Options {
  std::string listen = "127.0.0.1:50051";
  std::string log_format = "auto";
  std::string token = "canary-default";
  bool insecure = false;
  std::int64_t slots = 1;
  double ratio = 0.5;
  milliseconds drain_timeout{5000};
  Bytes cache{64 << 20};
  std::vector<std::string> roots = {"data=/srv"};
};

class SettingsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "settings-test-XXXXXX").string();
    const int fd = ::mkstemp(pattern.data());
    ASSERT_GE(fd, 0);
    ::close(fd);
    file_ = pattern;
  }
  void TearDown() override { std::filesystem::remove(file_); }

  void WriteFile(std::string_view text) { std::ofstream(file_, std::ios::binary) << text; }

  absl::Status Load(SettingTexts flags = {}) {
    return settings_.Load(flags, [this](const std::string& name) -> std::optional<std::string> {
      const auto found = environment_.find(name);
      return found == environment_.end() ? std::nullopt : std::optional<std::string>(found->second);
    });
  }
  absl::Status LoadFile(std::string_view text) {
    WriteFile(text);
    return Load({{"config", file_}});
  }
  static std::string Message(const absl::Status& status) { return std::string(status.message()); }

  Options options_;
  Settings settings_{"mantissa-test",
                     {{"listen", "Address.", &options_.listen},
                      {"log-format", "Format.", &options_.log_format, {.choices = {"auto", "json", "text"}}},
                      {"auth-token", "Token.", &options_.token, {.secret = true}},
                      {"insecure-allow-remote", "Allow.", &options_.insecure},
                      {"slots", "Slots.", &options_.slots, {.min = 1, .max = 64}},
                      {"ratio", "Ratio.", &options_.ratio},
                      {"drain-timeout", "Drain.", &options_.drain_timeout},
                      {"cache", "Cache.", &options_.cache},
                      {"root", "Roots.", &options_.roots}}};
  std::map<std::string, std::string> environment_;
  std::string file_;
};

TEST_F(SettingsTest, WithoutAnyLayerTheDefaultsStay) {
  ASSERT_TRUE(Load().ok());
  EXPECT_EQ(options_.listen, "127.0.0.1:50051");
  EXPECT_EQ(options_.slots, 1);
  EXPECT_FALSE(settings_.print_config());
}

TEST_F(SettingsTest, EveryTypeIsReadFromTheFile) {
  ASSERT_TRUE(LoadFile("# a comment\n"
                       "listen: 0.0.0.0:1\n"
                       "log_format: json\n"
                       "auth_token: s3cret\n"
                       "insecure_allow_remote: yes\n"
                       "slots: 8\n"
                       "ratio: 0.25\n"
                       "drain_timeout: 1.5s\n"
                       "cache: 1GiB\n"
                       "root: [a=/a, 'b=/b,c']\n")
                  .ok());
  EXPECT_EQ(options_.listen, "0.0.0.0:1");
  EXPECT_EQ(options_.log_format, "json");
  EXPECT_EQ(options_.token, "s3cret");
  EXPECT_TRUE(options_.insecure);
  EXPECT_EQ(options_.slots, 8);
  EXPECT_EQ(options_.ratio, 0.25);
  EXPECT_EQ(options_.drain_timeout, milliseconds(1500));
  EXPECT_EQ(options_.cache.count, 1 << 30);
  EXPECT_THAT(options_.roots, ElementsAre("a=/a", "b=/b,c"));
}

TEST_F(SettingsTest, EveryTypeIsReadFromTheEnvironment) {
  environment_ = {{"MANTISSA_LISTEN", "e:1"},       {"MANTISSA_INSECURE_ALLOW_REMOTE", "1"}, {"MANTISSA_SLOTS", "2"},
                  {"MANTISSA_RATIO", "1e-3"},       {"MANTISSA_DRAIN_TIMEOUT", "2h"},        {"MANTISSA_CACHE", "5"},
                  {"MANTISSA_ROOT", "a=/a, b=/b,"}, {"MANTISSA_OF_ANOTHER_PROGRAM", "x"}};
  ASSERT_TRUE(Load().ok());
  EXPECT_EQ(options_.listen, "e:1");
  EXPECT_TRUE(options_.insecure);
  EXPECT_EQ(options_.slots, 2);
  EXPECT_EQ(options_.ratio, 1e-3);
  EXPECT_EQ(options_.drain_timeout, std::chrono::hours(2));
  EXPECT_EQ(options_.cache.count, 5);
  EXPECT_THAT(options_.roots, ElementsAre("a=/a", "b=/b"));
}

TEST_F(SettingsTest, FlagsWinOverEnvironmentOverFileOverDefault) {
  WriteFile("listen: file\nslots: 3\ndrain_timeout: 3s\n");
  environment_ = {{"MANTISSA_CONFIG", file_}, {"MANTISSA_LISTEN", "environment"}, {"MANTISSA_SLOTS", "4"}};
  ASSERT_TRUE(Load({{"listen", "flag"}}).ok());
  EXPECT_EQ(options_.listen, "flag");
  EXPECT_EQ(options_.slots, 4);
  EXPECT_EQ(options_.drain_timeout, milliseconds(3000));
  const std::string printed = settings_.Print();
  EXPECT_THAT(printed, HasSubstr("listen: \"flag\"  # flag --listen\n"));
  EXPECT_THAT(printed, HasSubstr("slots: 4  # environment MANTISSA_SLOTS\n"));
  EXPECT_THAT(printed, HasSubstr("drain_timeout: 3s  # file " + file_ + " line 3\n"));
  EXPECT_THAT(printed, HasSubstr("ratio: 0.5  # default\n"));
}

TEST_F(SettingsTest, TheConfigFlagWinsOverItsVariable) {
  WriteFile("slots: 3\n");
  environment_ = {{"MANTISSA_CONFIG", "/nonexistent"}};
  EXPECT_TRUE(Load({{"config", file_}}).ok());
  EXPECT_EQ(options_.slots, 3);
}

TEST_F(SettingsTest, AnUnknownKeyNamesItselfItsLineAndTheNearest) {
  const absl::Status status = LoadFile("slots: 2\nlog_fromat: json\nwhatever: 1\n");
  EXPECT_THAT(Message(status), HasSubstr("line 2: unknown key \"log_fromat\"; did you mean \"log_format\"?"));
  EXPECT_THAT(Message(status), HasSubstr("line 3: unknown key \"whatever\"; known are listen, "));
  EXPECT_EQ(options_.slots, 1) << "nothing changes when anything is wrong";
}

TEST_F(SettingsTest, EverythingThatIsWrongIsReportedAtOnceWithItsOrigin) {
  environment_ = {{"MANTISSA_RATIO", "nan"}};
  WriteFile("drain_timeout: fast\ncache: [1]\n");
  const std::string message = Message(Load({{"config", file_}, {"slots", "65"}, {"log-format", "xml"}}));
  EXPECT_THAT(message, HasSubstr("flag --slots: slots: 65 is out of range: 1 to 64 is allowed"));
  EXPECT_THAT(message, HasSubstr("flag --log-format: log-format: \"xml\" is not one of: auto, json, text"));
  EXPECT_THAT(message, HasSubstr("environment MANTISSA_RATIO: ratio: \"nan\" is not a finite number"));
  EXPECT_THAT(message, HasSubstr("line 1: drain-timeout: \"fast\" is not a duration"));
  EXPECT_THAT(message, HasSubstr("line 2: cache must be one value"));
}

TEST_F(SettingsTest, ValuesOutOfTheirTypeAreRefused) {
  for (const auto& [name, text] : std::vector<std::pair<std::string, std::string>>{{"slots", ""},
                                                                                   {"slots", "0"},
                                                                                   {"slots", "1.5"},
                                                                                   {"slots", "9223372036854775808"},
                                                                                   {"insecure-allow-remote", "maybe"},
                                                                                   {"insecure-allow-remote", ""},
                                                                                   {"ratio", "inf"},
                                                                                   {"cache", "-1"},
                                                                                   {"drain-timeout", "5"}}) {
    EXPECT_FALSE(Load({{name, text}}).ok()) << name << "=" << text;
  }
}

TEST_F(SettingsTest, BothEndsOfARangeAreInIt) {
  EXPECT_TRUE(Load({{"slots", "64"}}).ok());
  EXPECT_EQ(options_.slots, 64);
  EXPECT_TRUE(Load({{"slots", "1"}}).ok());
}

TEST_F(SettingsTest, AFileThatIsNoMapOfScalarsIsRefused) {
  EXPECT_THAT(Message(LoadFile("- a\n- b\n")), HasSubstr("not a map"));
  EXPECT_THAT(Message(LoadFile("just text")), HasSubstr("not a map"));
  EXPECT_THAT(Message(LoadFile("slots: {a: 1}\n")), HasSubstr("line 1: slots must be one value"));
  EXPECT_THAT(Message(LoadFile("slots:\n")), HasSubstr("slots must be one value"));
  EXPECT_THAT(Message(LoadFile("root: [[a]]\n")), HasSubstr("root must be a list of texts"));
  EXPECT_THAT(Message(LoadFile("slots: 1\nslots: 2\n")), HasSubstr("line 2: slots is given twice"));
  EXPECT_THAT(Message(LoadFile("[1, 2]: 3\n")), HasSubstr("unknown key"));
  EXPECT_THAT(Message(LoadFile("slots: 1\n  bad: [\n")), HasSubstr("line 2: not YAML"));
  EXPECT_THAT(Message(LoadFile(std::string((1 << 20) + 1, '#'))), HasSubstr("larger than 1 MiB"));
  EXPECT_TRUE(LoadFile("").ok());
  EXPECT_TRUE(LoadFile("# nothing\n").ok());
}

TEST_F(SettingsTest, AFileThatCannotBeReadIsAnError) {
  EXPECT_THAT(Message(Load({{"config", "/nonexistent/settings.yaml"}})),
              HasSubstr("/nonexistent/settings.yaml: can't be read"));
  EXPECT_THAT(Message(Load({{"config", std::filesystem::temp_directory_path().string()}})), HasSubstr("can't be read"));
}

TEST_F(SettingsTest, AnEmptyListEmptiesTheDefault) {
  ASSERT_TRUE(LoadFile("root: []\n").ok());
  EXPECT_TRUE(options_.roots.empty());
}

TEST_F(SettingsTest, WhatIsPrintedIsReadBack) {
  environment_ = {{"MANTISSA_LISTEN", "quo\"te\\ and\ttab \x01"},
                  {"MANTISSA_ROOT", "a=/a b,c"},
                  {"MANTISSA_RATIO", "0.1"},
                  {"MANTISSA_CACHE", "3MiB"},
                  {"MANTISSA_DRAIN_TIMEOUT", "1500ms"}};
  ASSERT_TRUE(Load().ok());
  const std::string printed = settings_.Print();
  const Options first = options_;
  options_ = Options();
  environment_.clear();
  ASSERT_TRUE(LoadFile(printed).ok()) << printed;
  EXPECT_EQ(options_.listen, first.listen);
  EXPECT_EQ(options_.roots, first.roots);
  EXPECT_EQ(options_.ratio, first.ratio);
  EXPECT_EQ(options_.cache.count, first.cache.count);
  EXPECT_EQ(options_.drain_timeout, first.drain_timeout);
}

TEST_F(SettingsTest, SecretsAreNeverShown) {
  Settings secret_number("x", {{"pin", "Pin.", &options_.slots, {.secret = true}}});
  const absl::Status status = secret_number.Load({{"pin", "canary"}}, [](const std::string&) { return std::nullopt; });
  EXPECT_THAT(Message(status), Not(HasSubstr("canary")));
  ASSERT_TRUE(Load({{"auth-token", "canary"}}).ok());
  EXPECT_EQ(options_.token, "canary");
  EXPECT_THAT(settings_.Print(), Not(HasSubstr("canary")));
  EXPECT_THAT(settings_.Print(), HasSubstr("# auth_token: (hidden)  # flag --auth-token"));
}

TEST_F(SettingsTest, NamesFollowFromTheSetting) {
  EXPECT_EQ(Settings::EnvironmentName("metrics-listen"), "MANTISSA_METRICS_LISTEN");
  EXPECT_EQ(Settings::FileKey("metrics-listen"), "metrics_listen");
}

SettingTexts ParseFlags(const Settings& settings, std::vector<std::string> arguments) {
  CLI::App app;
  SettingTexts flags;
  DeclareFlags(settings, app, flags);
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  app.parse(arguments);
  return flags;
}

TEST_F(SettingsTest, FlagsArriveFromTheCommandLine) {
  const SettingTexts flags = ParseFlags(settings_, {"--listen", "a:1", "--insecure-allow-remote", "--root", "a=/a",
                                                    "--root=b=/b", "--slots=3", "--print-config", "--config", "file"});
  EXPECT_THAT(flags, ElementsAre(testing::Pair("config", "file"), testing::Pair("insecure-allow-remote", "true"),
                                 testing::Pair("listen", "a:1"), testing::Pair("print-config", testing::_),
                                 testing::Pair("root", "a=/a,b=/b"), testing::Pair("slots", "3")));
}

TEST_F(SettingsTest, ABooleanFlagTakesAValueToo) {
  EXPECT_THAT(ParseFlags(settings_, {"--insecure-allow-remote=false"}),
              ElementsAre(testing::Pair("insecure-allow-remote", "false")));
  EXPECT_THAT(ParseFlags(settings_, {}), testing::IsEmpty());
}

TEST_F(SettingsTest, HelpNamesVariableAndDefaultWhereThereIsOneToTell) {
  CLI::App app;
  SettingTexts flags;
  DeclareFlags(settings_, app, flags);
  const auto help = [&](const std::string& flag) { return app.get_option(flag)->get_description(); };
  EXPECT_THAT(help("--listen"), testing::EndsWith("[MANTISSA_LISTEN; " + options_.listen + "]"));
  EXPECT_THAT(help("--drain-timeout"), testing::EndsWith("[MANTISSA_DRAIN_TIMEOUT; 5s]"));
  EXPECT_THAT(help("--insecure-allow-remote"), testing::EndsWith("[MANTISSA_INSECURE_ALLOW_REMOTE]")) << "false";
  EXPECT_THAT(help("--root"), testing::EndsWith("[MANTISSA_ROOT; data=/srv]"));
  EXPECT_THAT(help("--auth-token"), testing::EndsWith("[MANTISSA_AUTH_TOKEN]")) << "a secret";
  options_.roots.clear();
  options_.log_format.clear();
  CLI::App other;
  DeclareFlags(settings_, other, flags);
  EXPECT_THAT(other.get_option("--root")->get_description(), testing::EndsWith("[MANTISSA_ROOT]"));
  EXPECT_THAT(other.get_option("--log-format")->get_description(), testing::EndsWith("[MANTISSA_LOG_FORMAT]"));
}

TEST_F(SettingsTest, PrintConfigIsARequestToMain) {
  ASSERT_TRUE(Load(ParseFlags(settings_, {"--print-config"})).ok());
  EXPECT_TRUE(settings_.print_config());
}

}  // namespace
}  // namespace mantissa::process
