// Sizes of data that somebody else chose: they saturate instead of overflowing, and are held against a limit before a
// byte is allocated.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace mantissa::trainer {

inline constexpr std::int64_t kSaturated = std::numeric_limits<std::int64_t>::max();

// Of numbers that are not negative.
inline std::int64_t SaturatingProduct(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? kSaturated : product;
}

inline std::int64_t SaturatingSum(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? kSaturated : sum;
}

// `1.5 GiB`; whole bytes below 1 KiB.
std::string BytesText(std::int64_t bytes);

// RESOURCE_EXHAUSTED with field, both sizes and the remedy when `needed` is above `limit`.
absl::Status CheckDataSize(std::int64_t needed, std::int64_t limit, std::string_view field, std::string_view remedy);

}  // namespace mantissa::trainer
