// What a dropout's mask is drawn from, as the ops take it.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace mantissa::trainer::kernels {

struct DropoutKey {
  double probability = 0;
  std::int64_t seed = 0;
  std::int64_t iteration = 0;
  at::Tensor window;  // holds the iteration, where it is defined
  std::int64_t micro_batch = 0;
  std::int64_t site = 0;
};

}  // namespace mantissa::trainer::kernels
