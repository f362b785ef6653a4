#include "process/settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include <yaml-cpp/yaml.h>

#include "process/nearest_name.h"
#include "process/text_value.h"

namespace mantissa::process {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20;

using Value =
    std::variant<std::string, bool, std::int64_t, double, std::chrono::milliseconds, Bytes, std::vector<std::string>>;

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(std::string(text.substr(0, 80))), "\"");
}

bool IsList(const Setting& setting) { return std::holds_alternative<std::vector<std::string>*>(setting.target); }

// Items of a list as a flag or an environment variable gives them.
std::vector<std::string> SplitItems(const std::string& text) {
  std::vector<std::string> items;
  for (absl::string_view item : absl::StrSplit(text, ',')) {
    item = absl::StripAsciiWhitespace(item);
    if (!item.empty()) items.emplace_back(item);
  }
  return items;
}

absl::StatusOr<Value> ParseText(const std::string& text, std::string*, const SettingRules& rules) {
  if (!rules.choices.empty() && std::find(rules.choices.begin(), rules.choices.end(), text) == rules.choices.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quoted(text), " is not one of: ", absl::StrJoin(rules.choices, ", ")));
  }
  return text;
}

absl::StatusOr<Value> ParseText(const std::string& text, bool*, const SettingRules&) {
  for (const char* yes : {"true", "yes", "on", "1"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"false", "no", "off", "0"}) {
    if (text == no) return false;
  }
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is neither true nor false"));
}

absl::StatusOr<Value> ParseText(const std::string& text, std::int64_t*, const SettingRules& rules) {
  std::int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a whole number of 64 bits, such as 8"));
  }
  if (number < rules.min || number > rules.max) {
    return absl::InvalidArgumentError(
        absl::StrCat(number, " is out of range: ", rules.min, " to ", rules.max, " is allowed"));
  }
  return number;
}

absl::StatusOr<Value> ParseText(const std::string& text, double*, const SettingRules&) {
  double number = 0;
  if (!absl::SimpleAtod(text, &number) || !std::isfinite(number)) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a finite number, such as 0.5"));
  }
  return number;
}

absl::StatusOr<Value> ParseText(const std::string& text, std::chrono::milliseconds*, const SettingRules&) {
  absl::StatusOr<std::chrono::milliseconds> duration = ParseDuration(text);
  if (!duration.ok()) return duration.status();
  return *duration;
}

absl::StatusOr<Value> ParseText(const std::string& text, Bytes*, const SettingRules&) {
  absl::StatusOr<std::int64_t> bytes = ParseBytes(text);
  if (!bytes.ok()) return bytes.status();
  return Bytes{*bytes};
}

absl::StatusOr<Value> ParseItems(const std::vector<std::string>& items, const Setting& setting) {
  return std::visit(
      [&](auto* target) -> absl::StatusOr<Value> {
        if constexpr (std::is_same_v<decltype(target), std::vector<std::string>*>) {
          return items;
        } else {
          return ParseText(items.front(), target, setting.rules);
        }
      },
      setting.target);
}

void Assign(const SettingTarget& target, const Value& value) {
  std::visit([&](auto* to) { *to = std::get<std::decay_t<decltype(*to)>>(value); }, target);
}

// A YAML double-quoted scalar.
std::string YamlString(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&quoted, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::string FormatTarget(const SettingTarget& target) {
  return std::visit(
      [](const auto* held) -> std::string {
        using Held = std::decay_t<decltype(*held)>;
        if constexpr (std::is_same_v<Held, std::string>) {
          return YamlString(*held);
        } else if constexpr (std::is_same_v<Held, bool>) {
          return *held ? "true" : "false";
        } else if constexpr (std::is_same_v<Held, std::chrono::milliseconds>) {
          return FormatDuration(*held);
        } else if constexpr (std::is_same_v<Held, Bytes>) {
          return FormatBytes(held->count);
        } else if constexpr (std::is_same_v<Held, std::vector<std::string>>) {
          std::vector<std::string> items;
          for (const std::string& item : *held) items.push_back(YamlString(item));
          return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
        } else if constexpr (std::is_same_v<Held, double>) {
          char text[32];
          return std::string(text, std::to_chars(text, text + sizeof(text), *held).ptr);  // shortest exact form
        } else {
          return absl::StrCat(*held);
        }
      },
      target);
}

// Scalars of a YAML value: one, or several for a list. Empty when it is of another shape.
std::vector<std::string> ScalarsOf(const YAML::Node& node, bool list) {
  std::vector<std::string> items;
  if (node.IsScalar()) return {node.Scalar()};
  if (!list || !node.IsSequence()) return {};
  for (const YAML::Node& item : node) {
    if (!item.IsScalar()) return {};
    items.push_back(item.Scalar());
  }
  return items;
}

std::optional<std::string> ReadText(const std::string& path, std::string& problem) {
  std::ifstream stream(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  if (stream) stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!stream.is_open() || stream.bad() || (stream.gcount() == 0 && !stream.eof())) {
    problem = absl::StrCat(path, ": can't be read; check the path given with --config and the file's mode");
    return std::nullopt;
  }
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (text.size() > kMaxFileBytes) {
    problem = absl::StrCat(path, ": larger than 1 MiB; this is no settings file");
    return std::nullopt;
  }
  return text;
}

}  // namespace

Environment ProcessEnvironment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
}

Settings::Settings(std::string program, std::vector<Setting> settings)
    : program_(std::move(program)), settings_(std::move(settings)) {
  for (const Setting& setting : settings_) origins_[setting.name] = "default";
}

std::string Settings::EnvironmentName(std::string_view setting) {
  return absl::StrCat("MANTISSA_", absl::AsciiStrToUpper(FileKey(setting)));
}

std::string Settings::FileKey(std::string_view setting) {
  return absl::StrReplaceAll(std::string(setting), {{"-", "_"}});
}

Settings::Layer Settings::ReadFile(const std::string& path, std::vector<std::string>& problems) const {
  Layer layer;
  std::string problem;
  const std::optional<std::string> text = ReadText(path, problem);
  if (!text) {
    problems.push_back(problem);
    return layer;
  }
  YAML::Node file;
  try {
    file = YAML::Load(*text);
  } catch (const YAML::Exception& error) {
    problems.push_back(absl::StrCat(path, " line ", error.mark.line + 1, ": not YAML: ", error.msg));
    return layer;
  }
  if (file.IsNull()) return layer;  // empty, or comments alone
  if (!file.IsMap()) {
    problems.push_back(absl::StrCat(path, ": not a map; write one `key: value` a line"));
    return layer;
  }
  std::vector<std::string> keys;
  for (const Setting& setting : settings_) keys.push_back(FileKey(setting.name));
  for (const auto& entry : file) {
    const std::string origin = absl::StrCat("file ", path, " line ", entry.first.Mark().line + 1);
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "";
    const auto known = std::find(keys.begin(), keys.end(), key);
    if (known == keys.end()) {
      const std::string nearest = NearestName(key, keys);
      problems.push_back(absl::StrCat(origin, ": unknown key ", Quoted(key), "; ",
                                      nearest.empty() ? absl::StrCat("known are ", absl::StrJoin(keys, ", "))
                                                      : absl::StrCat("did you mean \"", nearest, "\"?")));
      continue;
    }
    const Setting& setting = settings_[static_cast<std::size_t>(known - keys.begin())];
    const bool empty_list = IsList(setting) && entry.second.IsSequence() && entry.second.size() == 0;
    std::vector<std::string> items = ScalarsOf(entry.second, IsList(setting));
    if (items.empty() && !empty_list) {
      problems.push_back(
          absl::StrCat(origin, ": ", key, " must be ", IsList(setting) ? "a list of texts" : "one value"));
    } else if (!layer.try_emplace(setting.name, Given{std::move(items), origin}).second) {
      problems.push_back(absl::StrCat(origin, ": ", key, " is given twice; keep one"));
    }
  }
  return layer;
}

absl::Status Settings::Load(const SettingTexts& flags, const Environment& environment) {
  std::vector<std::string> problems;
  const auto config_flag = flags.find(kConfigFlag);
  const std::string config_path =
      config_flag != flags.end() ? config_flag->second : environment(EnvironmentName(kConfigFlag)).value_or("");
  const Layer file = config_path.empty() ? Layer() : ReadFile(config_path, problems);

  std::vector<std::pair<const Setting*, Value>> staged;
  std::map<std::string, std::string> origins = origins_;
  for (const Setting& setting : settings_) {
    std::optional<Given> given;
    const auto items = [&](const std::string& text) {
      return IsList(setting) ? SplitItems(text) : std::vector<std::string>{text};
    };
    const std::string variable = EnvironmentName(setting.name);
    if (const auto flag = flags.find(setting.name); flag != flags.end()) {
      given = {items(flag->second), absl::StrCat("flag --", setting.name)};
    } else if (const std::optional<std::string> value = environment(variable)) {
      given = {items(*value), absl::StrCat("environment ", variable)};
    } else if (const auto entry = file.find(setting.name); entry != file.end()) {
      given = entry->second;
    }
    if (!given) continue;
    absl::StatusOr<Value> value = ParseItems(given->items, setting);
    if (value.ok()) {
      staged.emplace_back(&setting, *std::move(value));
      origins[setting.name] = given->origin;
    } else {
      problems.push_back(
          absl::StrCat(given->origin, ": ", setting.name, ": ",
                       setting.rules.secret ? "not a valid value" : std::string(value.status().message())));
    }
  }
  if (!problems.empty()) return absl::InvalidArgumentError(absl::StrJoin(problems, "\n"));
  for (const auto& [setting, value] : staged) Assign(setting->target, value);
  origins_ = std::move(origins);
  print_config_ = flags.contains(kPrintConfigFlag);
  return absl::OkStatus();
}

std::string Settings::DefaultText(const Setting& setting) {
  if (setting.rules.secret) return "";
  if (const auto* const text = std::get_if<std::string*>(&setting.target)) return **text;
  if (const auto* const list = std::get_if<std::vector<std::string>*>(&setting.target)) {
    return absl::StrJoin(**list, ",");
  }
  if (const auto* const flag = std::get_if<bool*>(&setting.target); flag != nullptr && !**flag) return "";
  return FormatTarget(setting.target);
}

std::string Settings::Print() const {
  std::string text;
  for (const Setting& setting : settings_) {
    const std::string& origin = origins_.at(setting.name);
    if (setting.rules.secret) {
      absl::StrAppend(&text, "# ", FileKey(setting.name), ": (hidden)  # ", origin, "\n");
    } else {
      absl::StrAppend(&text, FileKey(setting.name), ": ", FormatTarget(setting.target), "  # ", origin, "\n");
    }
  }
  return text;
}

}  // namespace mantissa::process
