#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

// A job begins with the same weights wherever it runs.
TEST(GpuInitialValuesTest, AreThoseOfTheCpuBitForBit) {
  for (const bool normal : {false, true}) {
    for (const std::int64_t size : {0, 1, 3, 4, 5, 1001, (9 << 20) + 1}) {
      const at::Tensor there = at::zeros({size}, kGpu), here = at::zeros({size});
      OpFillInitial(there, (std::int64_t{7} << 40) + 3, 11, 0.02, normal);
      OpFillInitial(here, (std::int64_t{7} << 40) + 3, 11, 0.02, normal);
      EXPECT_TRUE(at::equal(there.cpu(), here)) << size << (normal ? " normal" : " uniform");
    }
  }
}

TEST(GpuInitialValuesTest, MayBeginAnywhereInABuffer) {
  const at::Tensor there = at::zeros({1003}, kGpu), here = at::zeros({1001});
  OpFillInitial(there.narrow(0, 1, 1001), 3, 2, 1, true);
  OpFillInitial(here, 3, 2, 1, true);
  EXPECT_TRUE(at::equal(there.cpu().narrow(0, 1, 1001), here));
  EXPECT_EQ(there[0].item<float>(), 0);
  EXPECT_EQ(there[1002].item<float>(), 0);
}

}  // namespace
}  // namespace mantissa::trainer
