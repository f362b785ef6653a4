#include "proto/spec/checker.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "process/rooted_path.h"

namespace mantissa::spec {
namespace {

std::string Text(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  return absl::StrCat(number);
}

std::string Text(const Interval& interval) {
  return absl::StrCat(interval.min_open ? "above " : "at least ", interval.min, " and ",
                      interval.max_open ? "below " : "at most ", interval.max);
}

}  // namespace

Checker::Checker(std::vector<Violation>& violations, std::string path)
    : violations_(violations), path_(std::move(path)) {}

std::string Checker::PathOf(std::string_view field) const {
  return path_.empty() || field.empty() ? absl::StrCat(path_, std::string(field))
                                        : absl::StrCat(path_, ".", std::string(field));
}

Checker Checker::Beneath(std::string_view field) const { return Checker(violations_, PathOf(field)); }

void Checker::Add(std::string_view field, ViolationReason reason, std::string description) {
  violations_.push_back({PathOf(field), reason, std::move(description)});
}

void Checker::Add(Violation violation) { violations_.push_back(std::move(violation)); }

bool Checker::Whole(std::string_view field, std::int64_t value, std::int64_t min, std::int64_t max,
                    std::int64_t example) {
  if (value >= min && value <= max) return true;
  Add(field, ViolationReason::kOutOfRange,
      absl::StrCat("is ", value, "; ", min, " to ", max, " is allowed, such as ", example));
  return false;
}

bool Checker::Number(std::string_view field, double value, const Interval& interval, std::string_view example) {
  // Written so that NaN fails it.
  const bool above = interval.min_open ? value > interval.min : value >= interval.min;
  const bool below = interval.max_open ? value < interval.max : value <= interval.max;
  if (above && below) return true;
  Add(field, ViolationReason::kOutOfRange,
      absl::StrCat("is ", Text(value), "; a number ", Text(interval), " is allowed, such as ", std::string(example)));
  return false;
}

bool Checker::Duration(std::string_view field, const google::protobuf::Duration& value, bool above_zero,
                       std::int64_t max_seconds, std::string_view example) {
  constexpr std::int32_t kNanosPerSecond = 1'000'000'000;
  const bool well_formed = value.nanos() > -kNanosPerSecond && value.nanos() < kNanosPerSecond &&
                           !(value.seconds() > 0 && value.nanos() < 0) && !(value.seconds() < 0 && value.nanos() > 0);
  const bool negative = value.seconds() < 0 || value.nanos() < 0;
  const bool zero = value.seconds() == 0 && value.nanos() == 0;
  const bool too_long = value.seconds() > max_seconds || (value.seconds() == max_seconds && value.nanos() > 0);
  if (well_formed && !negative && !too_long && !(zero && above_zero)) return true;
  Add(field, well_formed ? ViolationReason::kOutOfRange : ViolationReason::kInvalidFormat,
      absl::StrCat("is ", value.seconds(), "s and ", value.nanos(), "ns; a duration ",
                   above_zero ? "above 0s" : "of at least 0s", " and at most ", max_seconds, "s is allowed, such as ",
                   std::string(example)));
  return false;
}

bool Checker::Path(std::string_view field, const std::string& value) {
  if (value.empty()) {
    Add(field, ViolationReason::kRequired, "is missing; write root-name:relative/path, such as data:digits/images.idx");
    return false;
  }
  const absl::Status parsed = process::ParseRootedPath(value).status();
  if (parsed.ok()) return true;
  Add(field, ViolationReason::kInvalidFormat, absl::StrCat("is ", Shown(value), ": ", std::string(parsed.message())));
  return false;
}

bool Checker::KnownEnum(std::string_view field, int value, bool known) {
  if (known) return true;
  Add(field, ViolationReason::kUnknownValue,
      absl::StrCat("has the unknown value ", value, "; it may come from a newer client: use a value this release has"));
  return false;
}

void Checker::Unimplemented(std::string_view field, std::string_view what, std::string_view remedy) {
  Add(field, ViolationReason::kUnimplemented,
      absl::StrCat(std::string(what), " is not built in this release; ", std::string(remedy)));
}

std::string Indexed(std::string_view field, int index) { return absl::StrCat(std::string(field), "[", index, "]"); }

std::string Shown(std::string_view text) {
  constexpr std::size_t kMaxShown = 80;
  std::size_t end = std::min(text.size(), kMaxShown);
  // Half a character would make the whole message unreadable: strings of protobuf are UTF-8.
  while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(std::string(text.substr(0, end))), end < text.size() ? "…" : "",
                      "\"");
}

}  // namespace mantissa::spec
