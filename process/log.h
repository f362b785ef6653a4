// Structured logs on stderr: JSON lines for machines, plain lines for a person at a terminal.
//
//   Log(Level::kInfo, "attempt started", {{"job", id}, {"attempt", number}, {"trace_id", trace}});
//
// JSON: {"ts":"2026-01-01T00:00:00.000Z","level":"info","msg":"attempt started","job":"…","attempt":1,"trace_id":"…"}
// Keys that every program uses alike: job, attempt, worker, tenant, trace_id, error. A line that names a job has its
// trace_id, so that one search finds the job's life in the logs of all programs, and in those of its caller. The value
// of a key that ends in token, secret, password or authorization is never written.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/clock.h"

namespace mantissa::process {

enum class Level { kDebug, kInfo, kWarning, kError };

absl::StatusOr<Level> ParseLevel(std::string_view text);

struct LogValue {
  std::variant<std::string, std::int64_t, std::uint64_t, double, bool> value;

  LogValue(std::string_view text) : value(std::string(text)) {}
  LogValue(const std::string& text) : value(text) {}
  LogValue(const char* text) : value(std::string(text)) {}
  LogValue(const absl::Status& status) : value(status.ToString()) {}
  LogValue(bool flag) : value(flag) {}
  LogValue(std::signed_integral auto number) : value(static_cast<std::int64_t>(number)) {}
  LogValue(std::unsigned_integral auto number) : value(static_cast<std::uint64_t>(number)) {}
  LogValue(std::floating_point auto number) : value(static_cast<double>(number)) {}
};

struct LogField {
  std::string key;
  LogValue value;
};

enum class LogFormat {
  kAuto,  // kText when stderr is a terminal, else kJson
  kJson,
  kText,
};

absl::StatusOr<LogFormat> ParseLogFormat(std::string_view text);

struct LogOptions {
  Level level = Level::kInfo;  // what is below it is not written
  LogFormat format = LogFormat::kAuto;
};

// Applies to the whole process from here on. Before it, the defaults hold. Thread-safe.
void ConfigureLog(const LogOptions& options);

// What every line says from here on, behind its own fields; a line's own field of the same key stands in its place. For
// a process that is about one thing at a time, such as an attempt. Thread-safe.
void SetLogFields(std::vector<LogField> fields);

// Writes one line. Never fails: a log that can't be written is dropped. Thread-safe.
void Log(Level level, std::string_view message, std::vector<LogField> fields = {});

// The line without its line feed, pure. Bytes that are not UTF-8 become U+FFFD, control characters are escaped, so that
// nothing from outside can forge a second line or drive a terminal. NaN and Inf are strings in JSON.
std::string FormatJsonLine(WallTime time, Level level, std::string_view message, const std::vector<LogField>& fields);
std::string FormatTextLine(WallTime time, Level level, std::string_view message, const std::vector<LogField>& fields);

}  // namespace mantissa::process
