// What count_range leaves of the values that it was shown. Plain data, compiled by the C++ compiler and by nvcc alike.
#pragma once

#include <cstdint>

namespace mantissa::trainer {

// A row of an int64 tensor (rows, 4). Whole numbers alone, so that the order in which a device adds them changes
// nothing.
struct RangeCounts {
  std::int64_t max_bits = 0;  // those of the largest finite magnitude, as FP32: ordered as the magnitudes are
  std::int64_t not_zero = 0;
  std::int64_t flushed = 0;  // not zero and no larger than what rounds to zero
  std::int64_t near_max = 0;
};

static_assert(sizeof(RangeCounts) == 32);

// Magnitudes between which a number format is at ease.
struct RangeLimits {
  float flushed_to = 0;  // the largest that rounds to zero
  float near_max = 0;    // from here on it is near the format's largest
};

}  // namespace mantissa::trainer
