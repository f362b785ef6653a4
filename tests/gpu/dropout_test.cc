#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

TEST(GpuDropoutTest, MasksEqualThoseOfTheCpuBitForBit) {
  at::manual_seed(1);
  for (const at::ScalarType type : {at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const std::int64_t size : {0, 1, 3, 4, 5, 1023, 1001, 200001}) {
      const at::Tensor x = at::randn({size}).to(type);
      for (const double probability : {0.0, 0.1, 0.5, 0.999}) {
        const DropoutKey key{(std::int64_t{7} << 40) + 3, size, 2, 5};
        EXPECT_TRUE(at::equal(OpDropout(x.to(kGpu), probability, key).cpu(), OpDropout(x, probability, key)))
            << type << " " << size << " " << probability;
      }
    }
  }
}

// More elements than the threads of one launch.
TEST(GpuDropoutTest, LargeTensorsToo) {
  const at::Tensor x = at::ones({9 << 20}, at::kHalf);
  EXPECT_TRUE(at::equal(OpDropout(x.to(kGpu), 0.3, DropoutKey()).cpu(), OpDropout(x, 0.3, DropoutKey())));
}

TEST(GpuDropoutTest, ReadsAnyLayoutAndAnyBegin) {
  at::manual_seed(2);
  const at::Tensor x = at::randn({31, 17});
  EXPECT_TRUE(at::equal(OpDropout(x.to(kGpu).t(), 0.5, DropoutKey()).cpu(), OpDropout(x.t(), 0.5, DropoutKey())));
  const at::Tensor flat = at::randn({1001}).to(at::kBFloat16);
  EXPECT_TRUE(at::equal(OpDropout(flat.to(kGpu).narrow(0, 1, 1000), 0.5, DropoutKey()).cpu(),
                        OpDropout(flat.narrow(0, 1, 1000), 0.5, DropoutKey())));
}

TEST(GpuDropoutTest, BackwardDropsTheSameElements) {
  const at::Tensor x = at::ones({7, 13}).to(kGpu).requires_grad_(true);
  const at::Tensor y = OpDropout(x, 0.4, DropoutKey());
  y.backward(at::ones_like(y));
  EXPECT_TRUE(at::equal(x.grad(), y.detach()));
}

TEST(GpuDropoutTest, AProbabilityOutsideItsRangeAndOtherTypesAreRefused) {
  EXPECT_THROW(OpDropout(at::ones({4}).to(kGpu), 1.0, DropoutKey()), c10::Error);
  EXPECT_THROW(OpDropout(at::ones({4}, at::kDouble).to(kGpu), 0.5, DropoutKey()), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
