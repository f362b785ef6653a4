#include "process/log.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cmath>
#include <memory>
#include <time.h>
#include <type_traits>
#include <unistd.h>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include "process/mutex.h"
#include "process/utf8.h"

namespace mantissa::process {
namespace {

constexpr std::string_view kHidden = "[hidden]";
constexpr std::array<std::string_view, 4> kSecretEndings = {"token", "secret", "password", "authorization"};
constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warning", "error"};

std::atomic<Level> g_level{Level::kInfo};
std::atomic<LogFormat> g_format{LogFormat::kAuto};

// Of every line. Never destroyed, as the logger.
struct SharedFields {
  Mutex mutex;
  std::vector<LogField> fields ABSL_GUARDED_BY(mutex);
};

SharedFields& Shared() {
  static auto& shared = *new SharedFields();
  return shared;
}

std::vector<LogField> WithShared(std::vector<LogField> fields) {
  const auto own = static_cast<std::ptrdiff_t>(fields.size());
  MutexLock lock(Shared().mutex);
  for (const LogField& field : Shared().fields) {
    const auto same = [&field](const LogField& other) { return other.key == field.key; };
    if (std::none_of(fields.begin(), fields.begin() + own, same)) fields.push_back(field);
  }
  return fields;
}

spdlog::logger& Logger() {
  // Never destroyed: a thread may log while the process ends.
  static spdlog::logger& logger = []() -> spdlog::logger& {
    auto& made = *new spdlog::logger("mantissa", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("%v");
    made.set_level(spdlog::level::trace);
    made.flush_on(spdlog::level::trace);
    return made;
  }();
  return logger;
}

bool IsSecret(std::string_view key) {
  const std::string lower = absl::AsciiStrToLower(std::string(key));
  for (std::string_view ending : kSecretEndings) {
    if (std::string_view(lower).ends_with(ending)) return true;
  }
  return false;
}

// Text as it stands between the quotes of a JSON string.
void AppendEscaped(std::string_view text, std::string& out) {
  while (!text.empty()) {
    const std::size_t length = Utf8Length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    // C1 control characters, U+0080 to U+009F, drive terminals as C0 ones do.
    const bool c1 = length == 2 && first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0;
    if (length == 0) {
      out += "\uFFFD";
    } else if (text[0] == '"' || text[0] == '\\') {
      out += {'\\', text[0]};
    } else if (text[0] == '\n') {
      out += "\\n";
    } else if (first < 0x20 || first == 0x7f) {
      absl::StrAppendFormat(&out, "\\u%04x", first);
    } else if (c1) {
      absl::StrAppendFormat(&out, "\\u%04x", static_cast<unsigned char>(text[1]));
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
}

void AppendQuoted(std::string_view text, std::string& out) {
  out += '"';
  AppendEscaped(text, out);
  out += '"';
}

void AppendNumber(double number, std::string& out) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;  // shortest exact form
  out.append(text.data(), end);
}

std::string NonFinite(double number) { return std::isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity"; }

void AppendJsonValue(const LogValue& value, std::string& out) {
  std::visit(
      [&out](const auto& held) {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, std::string>) {
          AppendQuoted(held, out);
        } else if constexpr (std::is_same_v<Held, bool>) {
          out += held ? "true" : "false";
        } else if constexpr (std::is_same_v<Held, double>) {
          if (std::isfinite(held)) {
            AppendNumber(held, out);
          } else {
            AppendQuoted(NonFinite(held), out);
          }
        } else {
          absl::StrAppend(&out, held);
        }
      },
      value.value);
}

void AppendTextValue(const LogValue& value, std::string& out) {
  const auto* text = std::get_if<std::string>(&value.value);
  if (text == nullptr) {
    const auto* number = std::get_if<double>(&value.value);
    if (number != nullptr && !std::isfinite(*number)) {
      out += NonFinite(*number);
    } else {
      AppendJsonValue(value, out);
    }
  } else if (text->empty() || text->find_first_of(" =\"") != std::string::npos) {
    AppendQuoted(*text, out);
  } else {
    AppendEscaped(*text, out);
  }
}

std::string_view LevelName(Level level) { return kLevelNames[static_cast<std::size_t>(level)]; }

struct TimeParts {
  tm utc;
  int milliseconds;
};

TimeParts Split(WallTime time) {
  const auto since_epoch = std::chrono::floor<std::chrono::milliseconds>(time).time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  TimeParts parts = {{}, static_cast<int>((since_epoch - seconds).count())};
  const time_t count = seconds.count();
  ::gmtime_r(&count, &parts.utc);
  return parts;
}

bool WritesJson(LogFormat format) {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  return format == LogFormat::kJson || (format == LogFormat::kAuto && !terminal);
}

}  // namespace

absl::StatusOr<Level> ParseLevel(std::string_view text) {
  for (std::size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == text) return static_cast<Level>(i);
  }
  return absl::InvalidArgumentError("a log level is debug, info, warning or error");
}

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text) {
  if (text == "auto") return LogFormat::kAuto;
  if (text == "json") return LogFormat::kJson;
  if (text == "text") return LogFormat::kText;
  return absl::InvalidArgumentError("a log format is auto, json or text");
}

void ConfigureLog(const LogOptions& options) {
  g_level.store(options.level, std::memory_order_relaxed);
  g_format.store(options.format, std::memory_order_relaxed);
}

void SetLogFields(std::vector<LogField> fields) {
  MutexLock lock(Shared().mutex);
  Shared().fields = std::move(fields);
}

void Log(Level level, std::string_view message, std::vector<LogField> own) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  const bool json = WritesJson(g_format.load(std::memory_order_relaxed));
  const std::vector<LogField> fields = WithShared(std::move(own));
  const std::string line = (json ? FormatJsonLine : FormatTextLine)(RealClock().WallNow(), level, message, fields);
  Logger().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

std::string FormatJsonLine(WallTime time, Level level, std::string_view message, const std::vector<LogField>& fields) {
  const TimeParts at = Split(time);
  std::string line = absl::StrFormat("{\"ts\":\"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ\",\"level\":\"%s\",\"msg\":",
                                     at.utc.tm_year + 1900, at.utc.tm_mon + 1, at.utc.tm_mday, at.utc.tm_hour,
                                     at.utc.tm_min, at.utc.tm_sec, at.milliseconds, std::string(LevelName(level)));
  AppendQuoted(message, line);
  for (const LogField& field : fields) {
    line += ',';
    AppendQuoted(field.key, line);
    line += ':';
    if (IsSecret(field.key)) {
      AppendQuoted(kHidden, line);
    } else {
      AppendJsonValue(field.value, line);
    }
  }
  return line + "}";
}

std::string FormatTextLine(WallTime time, Level level, std::string_view message, const std::vector<LogField>& fields) {
  const TimeParts at = Split(time);
  std::string line = absl::StrFormat("%02d:%02d:%02d.%03d %-7s ", at.utc.tm_hour, at.utc.tm_min, at.utc.tm_sec,
                                     at.milliseconds, std::string(LevelName(level)));
  AppendEscaped(message, line);
  for (const LogField& field : fields) {
    line += "  ";
    AppendEscaped(field.key, line);
    line += '=';
    if (IsSecret(field.key)) {
      line += kHidden;
    } else {
      AppendTextValue(field.value, line);
    }
  }
  return line;
}

}  // namespace mantissa::process
