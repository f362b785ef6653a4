// First values of parameters, drawn from (seed, index of the parameter, element): no generator state, so the same on
// every device and whatever else is drawn.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace mantissa::trainer {

struct InitialKey {
  std::uint64_t seed = 0;
  std::uint32_t parameter = 0;
};

void FillConstant(const at::Tensor& parameter, double value);
// In [-bound, bound).
void FillUniform(const at::Tensor& parameter, const InitialKey& key, double bound);
void FillNormal(const at::Tensor& parameter, const InitialKey& key, double deviation);

}  // namespace mantissa::trainer
