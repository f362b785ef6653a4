// Where a parameter's low-precision weight lies. Compiled by nvcc too.
#pragma once

#include <cstdint>

namespace mantissa::trainer {

// One for each parameter.
struct StoredWeight {
  static constexpr std::int64_t kNowhere = INT64_MIN;

  // From an element's place among the FP32 values to its place among the weights; kNowhere: it has none.
  std::int64_t shift = kNowhere;
};

}  // namespace mantissa::trainer
