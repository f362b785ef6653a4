// Durations and byte counts as people write them in settings: 500ms, 30s, 10min, 2h, 64MiB.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace mantissa::process {

// A number, whole or decimal, and a unit: ms, s, m or min, h, d. Zero may stand without a unit. Negative, missing
// unit, below a millisecond or beyond 10,000 days: INVALID_ARGUMENT.
absl::StatusOr<std::chrono::milliseconds> ParseDuration(std::string_view text);

// The shortest exact text that ParseDuration reads back: 90s, 1500ms, 2h.
std::string FormatDuration(std::chrono::milliseconds duration);

// A whole number and an optional unit: B, KiB, MiB, GiB, TiB (powers of 1024) or kB, MB, GB, TB (powers of 1000).
absl::StatusOr<std::int64_t> ParseBytes(std::string_view text);

// The largest binary unit that divides it: 64MiB, 1000B.
std::string FormatBytes(std::int64_t bytes);

}  // namespace mantissa::process
