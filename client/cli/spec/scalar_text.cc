#include "client/cli/spec/scalar_text.h"

#include <charconv>
#include <chrono>
#include <cmath>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "process/text_value.h"

namespace mantissa::cli {
namespace {

std::string_view WithoutPlus(std::string_view text) {
  return text.size() > 1 && text[0] == '+' && text[1] != '-' ? text.substr(1) : text;
}

// A whole number written as a decimal: 1e6, 64.0. Exact in a double, or refused.
absl::StatusOr<double> WholeFromDecimal(std::string_view text) {
  absl::StatusOr<double> number = ParseNumber(text);
  if (!number.ok()) return number;
  if (!std::isfinite(*number) || *number != std::floor(*number)) return absl::InvalidArgumentError("not whole");
  if (std::abs(*number) > 9007199254740992.0) return absl::OutOfRangeError("beyond 2^53; write all its digits");
  return number;
}

}  // namespace

absl::StatusOr<double> ParseNumber(std::string_view given) {
  std::string_view text = WithoutPlus(given);
  const bool negative = !text.empty() && text[0] == '-';
  const std::string word = absl::AsciiStrToLower(std::string(negative ? text.substr(1) : text));
  if (word == ".nan" || word == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (word == ".inf" || word == "inf" || word == "infinity") {
    return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  }
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc::result_out_of_range) return absl::OutOfRangeError("beyond the range of a double");
  // from_chars takes "nan(...)" too; what begins with a letter is no number here.
  if (error != std::errc() || end != text.data() + text.size() || word.empty() || absl::ascii_isalpha(word[0])) {
    return absl::InvalidArgumentError("no number");
  }
  return number;
}

absl::StatusOr<std::int64_t> ParseSigned(std::string_view given, std::int64_t min, std::int64_t max) {
  const std::string_view text = WithoutPlus(given);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = end == text.data() + text.size();
  if (error == std::errc::result_out_of_range && whole) return absl::OutOfRangeError("beyond 64 bits");
  if (error != std::errc() || !whole) {
    const absl::StatusOr<double> decimal = WholeFromDecimal(text);
    if (!decimal.ok()) return decimal.status();
    number = static_cast<std::int64_t>(*decimal);
  }
  if (number < min || number > max) return absl::OutOfRangeError("beyond the field's type");
  return number;
}

absl::StatusOr<std::uint64_t> ParseUnsigned(std::string_view given, std::uint64_t max) {
  const std::string_view text = WithoutPlus(given);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool whole = end == text.data() + text.size();
  if (error == std::errc::result_out_of_range && whole) return absl::OutOfRangeError("beyond 64 bits");
  if (error != std::errc() || !whole) {
    const absl::StatusOr<double> decimal = WholeFromDecimal(text);
    if (!decimal.ok()) return decimal.status();
    if (*decimal < 0) return absl::OutOfRangeError("below zero");
    number = static_cast<std::uint64_t>(*decimal);
  }
  if (number > max) return absl::OutOfRangeError("beyond the field's type");
  return number;
}

absl::StatusOr<google::protobuf::Duration> ParseSpecDuration(std::string_view text) {
  const bool negative = !text.empty() && text[0] == '-';
  const std::string_view magnitude = negative ? text.substr(1) : text;
  // A second sign would be read as one by the parsers.
  if (magnitude.empty() || (!absl::ascii_isdigit(magnitude[0]) && magnitude[0] != '.')) {
    return absl::InvalidArgumentError("no duration");
  }
  google::protobuf::Duration duration;
  // Seconds to the nanosecond are proto's; the other units need no more than milliseconds.
  if (google::protobuf::util::TimeUtil::FromString(std::string(text), &duration)) return duration;
  const absl::StatusOr<std::chrono::milliseconds> coarse = process::ParseDuration(magnitude);
  if (!coarse.ok()) return coarse.status();
  return google::protobuf::util::TimeUtil::MillisecondsToDuration(negative ? -coarse->count() : coarse->count());
}

absl::StatusOr<std::int64_t> ParseSpecBytes(std::string_view text) {
  std::string joined(text);
  const std::size_t space = joined.find(' ');
  if (space != std::string::npos) joined.erase(space, joined.find_first_not_of(' ', space) - space);
  if (absl::StatusOr<std::int64_t> bytes = process::ParseBytes(joined); bytes.ok()) return bytes;
  return ParseSigned(text, std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max());
}

}  // namespace mantissa::cli
