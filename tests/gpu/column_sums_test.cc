// Gradients of biases whose sums come with the gradient, from attention's backward pass.
#include "worker/kernels/column_sums.h"

#include <limits>
#include <string>
#include <tuple>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/gpu/gpu.h"
#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

class GpuColumnSumsTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  GpuColumnSumsTest() { at::manual_seed(51); }

  // Of FP32 sums of low numbers, rounded once: the sum's own rounding, and what another order of adding makes.
  void ExpectSums(const at::Tensor& gradient, const at::Tensor& rows) const {
    const at::Tensor values = rows.cpu().to(at::kDouble), want = values.sum(0);
    const double unit = GetParam() == at::kHalf ? 0x1p-11 : 0x1p-8;
    const at::Tensor allowed = want.abs() * unit + values.abs().sum(0) * 1e-6;
    EXPECT_TRUE(((gradient.cpu().to(at::kDouble) - want).abs() <= allowed).all().item<bool>());
    EXPECT_GT(want.abs().max().item<double>(), 0);
  }
};

TEST_P(GpuColumnSumsTest, OfAttentionsBackwardPassAreTheBiassGradient) {
  for (const std::int64_t time : {1, 65, 256}) {
    const std::int64_t width = 128;
    const at::Tensor bias = at::zeros({3 * width}).to(kGpu).requires_grad_();
    const at::Tensor qkv = OpLinear(at::randn({2, time, 32}).to(kGpu),
                                    at::randn({3 * width, 32}).to(kGpu).requires_grad_(), bias, GetParam());
    qkv.retain_grad();
    const at::Tensor mixed = OpAttention(qkv, 2, true);
    mixed.backward(at::randn(mixed.sizes()).to(kGpu).to(GetParam()));
    SCOPED_TRACE(time);
    ExpectSums(bias.grad(), qkv.grad().reshape({-1, 3 * width}));
  }
}

// Then the sums that came are not those of the whole gradient.
TEST_P(GpuColumnSumsTest, AreNotTakenOfAGradientThatSomethingElseWasAddedTo) {
  const at::Tensor bias = at::zeros({384}).to(kGpu).requires_grad_();
  const at::Tensor qkv =
      OpLinear(at::randn({2, 65, 32}).to(kGpu), at::randn({384, 32}).to(kGpu).requires_grad_(), bias, GetParam());
  qkv.retain_grad();
  (OpAttention(qkv, 2, true).sum() + (qkv * 3).sum()).backward();
  ExpectSums(bias.grad(), qkv.grad().reshape({-1, 384}));
  // As a gradient is added to in place.
  const at::Tensor gradient = at::ones({4, 8}).to(kGpu), sums = at::ones({1, 8}).to(kGpu);
  EXPECT_FALSE(kernels::ColumnSumsOf(gradient).defined());
  kernels::LeaveColumnSums(gradient, sums);
  EXPECT_TRUE(kernels::ColumnSumsOf(gradient).is_same(sums));
  gradient.add_(1);
  EXPECT_FALSE(kernels::ColumnSumsOf(gradient).defined());
}

TEST_P(GpuColumnSumsTest, SideBySideIsWhereEachPartBelongs) {
  const auto op = FindOp<std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&, const at::Tensor&)>(
      "mantissa::side_by_side");
  for (const std::int64_t rows : {0, 1, 7, 8, 1000}) {
    for (const std::int64_t width : {8, 64, 768, 776}) {
      at::Tensor parts[3];
      for (at::Tensor& part : parts) part = at::randn({rows, width}).to(kGpu).to(GetParam());
      if (rows > 3) parts[1][3][5] = std::numeric_limits<float>::quiet_NaN();
      if (rows > 3) parts[2][2][1] = std::numeric_limits<float>::infinity();
      const auto [whole, sums] = op.call(parts[0], parts[1], parts[2]);
      const at::Tensor want = at::cat({parts[0], parts[1], parts[2]}, 1);
      EXPECT_TRUE(at::equal(whole.view(at::kShort), want.view(at::kShort))) << rows << " x " << width;
      if (rows == 0) continue;
      EXPECT_TRUE(at::allclose(sums.sum(0), want.to(at::kFloat).sum(0), 1e-4, 1e-4, /*equal_nan=*/true));
    }
  }
  const at::Tensor part = at::zeros({4, 8}).to(kGpu).to(GetParam()), odd = at::zeros({4, 7}).to(kGpu).to(GetParam());
  EXPECT_THROW(op.call(part, part, odd), c10::Error);
  EXPECT_THROW(op.call(odd, odd, odd), c10::Error);
  EXPECT_THROW(op.call(part, part.cpu(), part), c10::Error);
  EXPECT_THROW(op.call(part.to(at::kFloat), part.to(at::kFloat), part.to(at::kFloat)), c10::Error);
}

INSTANTIATE_TEST_SUITE_P(LowTypes, GpuColumnSumsTest, testing::Values(at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

}  // namespace
}  // namespace mantissa::trainer
