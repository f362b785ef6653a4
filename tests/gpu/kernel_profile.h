// Where the time of an iteration goes, kernel by kernel, as CUPTI sees it through LibTorch's profiler. What runs in a
// recorded graph is seen as well.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mantissa::trainer {

struct KernelTime {
  std::string name;  // without return type and arguments, cut to a line's width; copies and fills count as kernels
  double calls = 0;  // of an iteration
  double seconds = 0;
};

// Runs `work`, which is `iterations` of them and ends when the device has done them. The longest first. Timing kernels
// makes short ones a little longer, and the gaps between them are not seen. Not thread-safe.
std::vector<KernelTime> ProfileKernels(std::int64_t iterations, const std::function<void()>& work);

}  // namespace mantissa::trainer
