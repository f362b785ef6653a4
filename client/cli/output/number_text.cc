#include "client/cli/output/number_text.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "absl/strings/str_cat.h"

namespace mantissa::cli {
namespace {

std::string Printf(const char* format, int precision, double number) {
  std::array<char, 64> buffer;
  const int length = std::snprintf(buffer.data(), buffer.size(), format, precision, number);
  return std::string(buffer.data(), static_cast<std::size_t>(std::clamp(length, 0, 63)));
}

// 2.1e-03 -> 2.1e-3.
std::string ShortExponent(std::string text) {
  const std::size_t e = text.find('e');
  if (e == std::string::npos) return text;
  std::size_t digits = e + 2;
  while (digits + 1 < text.size() && text[digits] == '0') text.erase(digits, 1);
  if (text[e + 1] == '+') text.erase(e + 1, 1);
  return text;
}

std::string LocalFormat(const google::protobuf::Timestamp& time, const char* format) {
  if (time.seconds() == 0 && time.nanos() == 0) return "-";
  const std::time_t seconds = static_cast<std::time_t>(time.seconds());
  std::tm local = {};
  if (::localtime_r(&seconds, &local) == nullptr) return "-";
  std::array<char, 64> buffer;
  return std::string(buffer.data(), std::strftime(buffer.data(), buffer.size(), format, &local));
}

}  // namespace

std::string ShortNumber(double number, int digits) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Inf" : "-Inf";
  if (number == 0) return "0";
  const double magnitude = std::abs(number);
  if (magnitude < 1e-2 || magnitude >= 1e6) {
    // At least two digits: 2.1e-3, 1.0e-5; no more than what was asked.
    return ShortExponent(Printf("%.*e", std::max(1, digits - 2), number));
  }
  // The exponent after rounding: 0.9996 has one digit before the point, not none.
  const std::string rounded = Printf("%.*e", digits - 1, magnitude);
  const int whole = std::atoi(rounded.c_str() + rounded.find('e') + 1) + 1;
  return Printf("%.*f", std::max(0, digits - whole), number);
}

std::string ScaleText(double scale) {
  if (!std::isfinite(scale) || scale > 4294967296.0 || scale < 1e-3) return ShortNumber(scale, 4);
  if (scale == std::floor(scale)) return Printf("%.*f", 0, scale);
  return ShortNumber(scale, 4);
}

std::string CompactCount(double count) {
  if (!std::isfinite(count)) return ShortNumber(count);
  if (count < 999.5) return count < 99.95 ? ShortNumber(count) : Printf("%.*f", 0, count);
  for (const auto& [unit, size] : {std::pair{"k", 1e3}, {"M", 1e6}, {"G", 1e9}}) {
    if (count < 999.5 * size || size == 1e9) return absl::StrCat(ShortNumber(count / size), unit);
  }
  return "";
}

std::string GroupedCount(std::int64_t count) {
  const std::string digits = std::to_string(count);
  const std::size_t first = count < 0 ? 1 : 0;
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > first && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string SizeText(std::int64_t bytes) {
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double size = static_cast<double>(bytes);
  for (const char* unit : {"KiB", "MiB", "GiB", "TiB"}) {
    size /= 1024;
    if (size < 999.5 || unit[0] == 'T') return absl::StrCat(ShortNumber(size), " ", unit);
  }
  return "";
}

std::string ClockSpan(std::chrono::seconds span) {
  const std::int64_t total = std::max<std::int64_t>(0, span.count());
  const auto [days, hours, minutes, seconds] =
      std::array<std::int64_t, 4>{total / 86400, total / 3600 % 24, total / 60 % 60, total % 60};
  std::array<char, 64> buffer;
  if (days > 0) {
    std::snprintf(buffer.data(), buffer.size(), "%lldd %lld:%02lld:%02lld", static_cast<long long>(days),
                  static_cast<long long>(hours), static_cast<long long>(minutes), static_cast<long long>(seconds));
  } else if (hours > 0) {
    std::snprintf(buffer.data(), buffer.size(), "%lld:%02lld:%02lld", static_cast<long long>(hours),
                  static_cast<long long>(minutes), static_cast<long long>(seconds));
  } else {
    std::snprintf(buffer.data(), buffer.size(), "%lld:%02lld", static_cast<long long>(minutes),
                  static_cast<long long>(seconds));
  }
  return buffer.data();
}

std::string SpanText(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "-";
  if (seconds < 0.9995) return absl::StrCat(std::llround(1e3 * seconds), "ms");
  if (seconds < 59.95) return absl::StrCat(ShortNumber(seconds, 3), "s");
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole < 3600) return absl::StrCat(whole / 60, "m ", whole % 60 < 10 ? "0" : "", whole % 60, "s");
  if (whole < 86400) return absl::StrCat(whole / 3600, "h ", whole / 60 % 60 < 10 ? "0" : "", whole / 60 % 60, "m");
  return absl::StrCat(whole / 86400, "d ", whole / 3600 % 24, "h");
}

double Seconds(const google::protobuf::Duration& duration) {
  return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
}

std::string LocalClock(const google::protobuf::Timestamp& time) { return LocalFormat(time, "%H:%M:%S"); }

std::string LocalDateTime(const google::protobuf::Timestamp& time) { return LocalFormat(time, "%Y-%m-%d %H:%M:%S"); }

std::string AgeText(const google::protobuf::Timestamp& time, std::chrono::system_clock::time_point now) {
  if (time.seconds() == 0 && time.nanos() == 0) return "-";
  const auto then = std::chrono::system_clock::time_point(std::chrono::seconds(time.seconds()));
  const std::int64_t age =
      std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(now - then).count());
  if (age < 60) return absl::StrCat(age, "s");
  if (age < 3600) return absl::StrCat(age / 60, "m");
  if (age < 86400) return absl::StrCat(age / 3600, "h");
  return absl::StrCat(age / 86400, "d");
}

}  // namespace mantissa::cli
