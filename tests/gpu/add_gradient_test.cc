// A product's gradient added to the FP32 sum, and the activation that a product applies itself, against LibTorch's ops.
#include <limits>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"
#include "worker/amp/op.h"

namespace mantissa::trainer {
namespace {

class GpuAddGradientTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  GpuAddGradientTest() { at::manual_seed(41); }
};

void Add(const at::Tensor& gradient, const at::Tensor& part) {
  FindOp<void(const at::Tensor&, const at::Tensor&)>("mantissa::add_gradient").call(gradient, part);
}

TEST_P(GpuAddGradientTest, AddsTheBitsOfLibtorchAtAnySizeAndBegin) {
  for (const std::int64_t size : {0, 1, 7, 8, 9, 2047, 2048, 2049, 100003}) {
    for (const std::int64_t begin : {0, 1, 4}) {
      at::Tensor gradient = at::randn({size + begin}), part = at::randn({size + begin}).to(GetParam());
      if (size > 8) {
        part[begin + 3] = std::numeric_limits<float>::infinity();
        part[begin + 5] = std::numeric_limits<float>::quiet_NaN();
      }
      const at::Tensor got = gradient.to(kGpu), low = part.to(kGpu);
      Add(got.narrow(0, begin, size), low.narrow(0, begin, size));
      gradient.narrow(0, begin, size).add_(part.narrow(0, begin, size));
      EXPECT_TRUE(at::allclose(got.cpu(), gradient, 0, 0, /*equal_nan=*/true)) << size << " from " << begin;
    }
  }
}

TEST_P(GpuAddGradientTest, TakesATransposedPart) {
  const at::Tensor gradient = at::randn({33, 65}), part = at::randn({65, 33}).to(GetParam());
  const at::Tensor got = gradient.to(kGpu);
  Add(got, part.to(kGpu).t());
  EXPECT_TRUE(at::equal(got.cpu(), gradient + part.t()));
}

// Wide enough for a product of LibTorch's.
TEST_P(GpuAddGradientTest, AReluThatTheProductAppliesIsLibtorchs) {
  at::Tensor x = at::randn({192, 640}).to(kGpu);
  const at::Tensor weight = (at::randn({512, 640}) / 25).to(kGpu), bias = at::randn({512}).to(kGpu);
  x[1][2] = std::numeric_limits<float>::quiet_NaN();
  x[3][4] = std::numeric_limits<float>::infinity();
  const auto linear = [&](std::int64_t activation) { return OpLinear(x, weight, bias, GetParam(), activation); };
  const at::Tensor got = linear(1), want = at::relu(linear(0));
  EXPECT_TRUE(at::allclose(got, want, GetParam() == at::kFloat ? 1e-5 : 0x1p-7, 1e-5, /*equal_nan=*/true));
  EXPECT_TRUE(got[1].isnan().all().item<bool>());
  EXPECT_GT(got[3].isinf().sum().item<std::int64_t>(), 100);
}

INSTANTIATE_TEST_SUITE_P(Types, GpuAddGradientTest, testing::Values(at::kFloat, at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

}  // namespace
}  // namespace mantissa::trainer
