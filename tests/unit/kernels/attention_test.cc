// attention on the CPU against the plain formula in double.
#include <cmath>
#include <limits>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

at::Tensor InDouble(const at::Tensor& qkv, std::int64_t heads, bool causal) {
  const std::int64_t batch = qkv.size(0), time = qkv.size(1), width = qkv.size(2) / 3;
  const auto part = [&](std::int64_t which) {
    return qkv.narrow(2, which * width, width).reshape({batch, time, heads, width / heads}).transpose(1, 2);
  };
  at::Tensor scores = at::matmul(part(0), part(1).transpose(2, 3)) / std::sqrt(static_cast<double>(width / heads));
  if (causal) {
    scores = scores.masked_fill(at::ones({time, time}, at::kBool).triu(1), -std::numeric_limits<double>::infinity());
  }
  return at::matmul(at::softmax(scores, -1), part(2)).transpose(1, 2).reshape({batch, time, width});
}

TEST(AttentionTest, MixesValuesAndTheirGradientsByTheFormula) {
  at::manual_seed(3);
  for (const bool causal : {false, true}) {
    const at::Tensor qkv = at::randn({2, 9, 3 * 24}).requires_grad_(true);
    const at::Tensor incoming = at::randn({2, 9, 24});
    const at::Tensor mixed = OpAttention(qkv, 3, causal);
    mixed.backward(incoming);
    const at::Tensor exact = qkv.detach().to(at::kDouble).requires_grad_(true);
    const at::Tensor want = InDouble(exact, 3, causal);
    want.backward(incoming.to(at::kDouble));
    EXPECT_TRUE(at::allclose(mixed.detach().to(at::kDouble), want.detach(), 1e-5, 1e-5)) << causal;
    EXPECT_TRUE(at::allclose(qkv.grad().to(at::kDouble), exact.grad(), 1e-4, 1e-5)) << causal;
  }
}

TEST(AttentionTest, WidthsThatAreNotThreeTimesTheHeadsAreRefused) {
  EXPECT_THROW(OpAttention(at::randn({2, 3, 25}), 2, false), c10::Error);
  EXPECT_THROW(OpAttention(at::randn({3, 24}), 2, false), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
