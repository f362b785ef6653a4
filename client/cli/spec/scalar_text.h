// One scalar of a spec, from the text a person wrote.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"
#include "google/protobuf/duration.pb.h"

namespace mantissa::cli {

// INVALID_ARGUMENT when the text is none, OUT_OF_RANGE when it is one that the type can't hold.
// `1e6` and `64.0` are whole numbers, `.5` is a number, `.nan`, `NaN`, `.inf` and `Infinity` are too.
absl::StatusOr<std::int64_t> ParseSigned(std::string_view text, std::int64_t min, std::int64_t max);
absl::StatusOr<std::uint64_t> ParseUnsigned(std::string_view text, std::uint64_t max);
absl::StatusOr<double> ParseNumber(std::string_view text);

// `30s`, `5m`, `1.5h`, `500ms`, `2d`, and proto's own form down to nanoseconds, `0.000000001s`; also negative, which
// validation refuses with the field's own range.
absl::StatusOr<google::protobuf::Duration> ParseSpecDuration(std::string_view text);

// A whole number, or one with a unit: `16GiB`, `16 GiB`, `16GB`.
absl::StatusOr<std::int64_t> ParseSpecBytes(std::string_view text);

}  // namespace mantissa::cli
