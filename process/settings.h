// Layered settings of a program: flags over MANTISSA_* environment variables over a YAML file over defaults.
//
// A program declares each setting once. From the declaration follow the flag (`--metrics-listen`), the environment
// variable (`MANTISSA_METRICS_LISTEN`), the key in the file (`metrics_listen`), the help text and --print-config:
//
//   ServerOptions options;  // holds the defaults
//   Settings settings("mantissa-server",
//                     {{"listen", "Address the API listens on.", &options.listen},
//                      {"drain-timeout", "How long to wait for streams at the end.", &options.drain_timeout},
//                      {"auth-token", "Bearer token.", &options.token, {.secret = true}}});
//   CLI::App app(settings.program());
//   SettingTexts flags;
//   DeclareFlags(settings, app, flags);   // process/settings_flags.h
//   CLI11_PARSE(app, argc, argv);
//   absl::Status loaded = settings.Load(flags, ProcessEnvironment());
//   if (settings.print_config()) std::cout << settings.Print();
//
// Every program has two more flags: `--config FILE` (MANTISSA_CONFIG), the YAML file, and `--print-config`.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mantissa::process {

// A byte count, so that a setting's type says how its text is read.
struct Bytes {
  std::int64_t count = 0;
};

using SettingTarget = std::variant<std::string*, bool*, std::int64_t*, double*, std::chrono::milliseconds*, Bytes*,
                                   std::vector<std::string>*>;

struct SettingRules {
  // Never shown by Print().
  bool secret = false;
  // Inclusive bounds of an integer.
  std::int64_t min = std::numeric_limits<std::int64_t>::min();
  std::int64_t max = std::numeric_limits<std::int64_t>::max();
  // When not empty, the only texts a string may have.
  std::vector<std::string> choices = {};
};

struct Setting {
  std::string name;  // as in the flag: lower case, words joined by '-'
  std::string help;
  SettingTarget target;  // holds the default until Load
  SettingRules rules = {};
};

// Setting name -> the text given for it. A list given by several flags has its items joined by commas.
using SettingTexts = std::map<std::string, std::string, std::less<>>;

inline constexpr char kConfigFlag[] = "config";
inline constexpr char kPrintConfigFlag[] = "print-config";

// Environment variable name -> its value, nothing when it is not set.
using Environment = std::function<std::optional<std::string>(const std::string&)>;
Environment ProcessEnvironment();

// Not thread-safe: read once at start-up.
class Settings {
 public:
  Settings(std::string program, std::vector<Setting> settings);

  // Reads every layer and writes every target. Reports all that is wrong at once, a line each with where it was given,
  // what is wrong and what would be right; then no target is changed. A variable MANTISSA_* that no setting has is not
  // an error: the environment is shared by all our programs.
  absl::Status Load(const SettingTexts& flags, const Environment& environment);

  // The effective values as a YAML file that Load reads back, each with its origin as a comment.
  std::string Print() const;

  // Whether --print-config was given. Valid after Load.
  bool print_config() const { return print_config_; }

  const std::string& program() const { return program_; }
  const std::vector<Setting>& settings() const { return settings_; }

  static std::string EnvironmentName(std::string_view setting);  // metrics-listen -> MANTISSA_METRICS_LISTEN
  static std::string FileKey(std::string_view setting);          // metrics-listen -> metrics_listen
  // What the target holds before Load, as a user would give it. Empty where that says nothing: no text, an empty list,
  // false; and of a secret.
  static std::string DefaultText(const Setting& setting);

 private:
  // The text of one setting in one layer, and where it stood.
  struct Given {
    std::vector<std::string> items;  // one, but for a list
    std::string origin;
  };
  using Layer = std::map<std::string, Given>;  // by setting name

  Layer ReadFile(const std::string& path, std::vector<std::string>& problems) const;

  const std::string program_;
  const std::vector<Setting> settings_;
  std::map<std::string, std::string> origins_;  // setting name -> "flag --x", "environment X", "file F line N"
  bool print_config_ = false;
};

}  // namespace mantissa::process
