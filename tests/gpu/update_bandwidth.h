// How fast the ops over the flat buffers move memory.
#pragma once

#include <string>
#include <vector>

namespace mantissa::trainer {

struct UpdateBandwidth {
  std::string name;             // `grad_stats`, `adamw`; `copy`: LibTorch's copy, what the memory can do
  double bytes_per_second = 0;  // each byte counted that has to be read or written once
};

// Over buffers of a 124M model, far larger than any cache.
std::vector<UpdateBandwidth> MeasureUpdateBandwidth();

}  // namespace mantissa::trainer
