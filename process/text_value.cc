#include "process/text_value.h"

#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace mantissa::process {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t size;
};

// The first unit of a size is the one that is written.
constexpr std::array<Unit, 6> kDurationUnits = {
    {{"d", 86'400'000}, {"h", 3'600'000}, {"min", 60'000}, {"m", 60'000}, {"s", 1'000}, {"ms", 1}}};
constexpr std::array<Unit, 10> kByteUnits = {{{"TiB", std::int64_t{1} << 40},
                                              {"GiB", 1 << 30},
                                              {"MiB", 1 << 20},
                                              {"KiB", 1 << 10},
                                              {"B", 1},
                                              {"", 1},
                                              {"TB", 1'000'000'000'000},
                                              {"GB", 1'000'000'000},
                                              {"MB", 1'000'000},
                                              {"kB", 1'000}}};
constexpr std::int64_t kMaxDurationMs = std::int64_t{10'000} * 86'400'000;

template <std::size_t N>
std::optional<std::int64_t> UnitSize(const std::array<Unit, N>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.size;
  }
  return std::nullopt;
}

std::string Quoted(std::string_view text) {
  return absl::StrCat("\"", absl::CHexEscape(std::string(text.substr(0, 80))), text.size() > 80 ? "…" : "", "\"");
}

absl::Status BadDuration(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a duration: ", std::string(why),
                                                 "; write a number and ms, s, min, h or d, ", "such as 30s or 500ms"));
}

absl::Status BadBytes(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a byte count: ", std::string(why),
                                                 "; write a whole number and B, KiB, MiB or GiB, such as 64MiB"));
}

}  // namespace

absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  const std::size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + digits, number, std::chars_format::fixed);
  if (digits == 0 || error != std::errc() || end != text.data() + digits) {
    return BadDuration(text, "it does not start with a number of zero or more");
  }
  const std::string_view unit = text.substr(digits);
  if (unit.empty() && number == 0) return std::chrono::milliseconds(0);
  const std::optional<std::int64_t> size = UnitSize(kDurationUnits, unit);
  if (!size) return BadDuration(text, unit.empty() ? "it has no unit" : "its unit is unknown");
  const double milliseconds = number * static_cast<double>(*size);
  if (milliseconds > static_cast<double>(kMaxDurationMs)) return BadDuration(text, "it is longer than 10,000 days");
  const double rounded = std::round(milliseconds);
  if (std::abs(milliseconds - rounded) > 1e-6 * std::max(1.0, milliseconds)) {
    return BadDuration(text, "it is finer than a millisecond");
  }
  return std::chrono::milliseconds(static_cast<std::int64_t>(rounded));
}

std::string FormatDuration(std::chrono::milliseconds duration) {
  const std::int64_t count = duration.count();
  if (count == 0) return "0s";
  for (const Unit& unit : kDurationUnits) {
    if (count % unit.size == 0) return absl::StrCat(count / unit.size, std::string(unit.name));
  }
  return absl::StrCat(count, "ms");
}

absl::StatusOr<std::int64_t> ParseBytes(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range) return BadBytes(text, "it is too large");
  if (error != std::errc() || number < 0)
    return BadBytes(text, "it does not start with a whole number of zero or more");
  const std::optional<std::int64_t> size = UnitSize(kByteUnits, std::string_view(end, text.data() + text.size() - end));
  if (!size) return BadBytes(text, "its unit is unknown");
  if (number > std::numeric_limits<std::int64_t>::max() / *size) return BadBytes(text, "it is too large");
  return number * *size;
}

std::string FormatBytes(std::int64_t bytes) {
  for (const Unit& unit : kByteUnits) {
    if (bytes != 0 && bytes % unit.size == 0) return absl::StrCat(bytes / unit.size, std::string(unit.name));
  }
  return absl::StrCat(bytes, "B");
}

}  // namespace mantissa::process
