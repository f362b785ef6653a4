// Splits elementwise work over the threads that ATen was given. What is computed must not depend on the split.
#pragma once

#include <cstdint>

#include <ATen/Parallel.h>

namespace mantissa::trainer::cpu {

inline constexpr std::int64_t kParallelGrain = 1 << 15;

// body(begin, end) over [0, count).
template <class Body>
void ForRange(std::int64_t count, const Body& body) {
  if (count <= kParallelGrain) {
    body(std::int64_t{0}, count);
  } else {
    at::parallel_for(0, count, kParallelGrain, body);
  }
}

}  // namespace mantissa::trainer::cpu
