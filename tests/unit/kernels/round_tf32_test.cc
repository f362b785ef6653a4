#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/kernels/ops.h"

namespace mantissa::trainer {
namespace {

at::Tensor Round(const at::Tensor& x) { return FindOp<at::Tensor(const at::Tensor&)>("mantissa::round_tf32").call(x); }
at::Tensor RoundGradient(const at::Tensor& x) {
  return FindOp<at::Tensor(const at::Tensor&)>("mantissa::round_gradient_tf32").call(x);
}

std::uint32_t BitsOf(float value) { return std::bit_cast<std::uint32_t>(value); }

// The nearest number with 10 bits of fraction, ties to even: found by looking at both neighbours, in double.
float Nearest(float value) {
  if (!std::isfinite(value)) return value;
  constexpr std::uint32_t kDropped = (1u << 13) - 1;
  const std::uint32_t low = BitsOf(value) & ~kDropped;
  const auto below = static_cast<double>(std::bit_cast<float>(low));
  // Beyond the largest there is Inf, as far away as the next power of two.
  const float next = std::bit_cast<float>(low + kDropped + 1);
  const double above = std::isinf(next) ? std::copysign(0x1p128, value) : static_cast<double>(next);
  const double down = std::fabs(value - below);
  const double up = std::fabs(above - value);
  if (down != up) return down < up ? static_cast<float>(below) : next;
  return (low >> 13) % 2 == 0 ? static_cast<float>(below) : next;
}

TEST(RoundTf32Test, IsToTheNearestAndToEvenBitForBit) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kMax = std::numeric_limits<float>::max();
  constexpr float kTiny = std::numeric_limits<float>::denorm_min();
  std::vector<float> values = {0.0f,
                               -0.0f,
                               1.0f,
                               kInf,
                               -kInf,
                               kMax,
                               -kMax,
                               kTiny,
                               -kTiny,
                               0x1p-126f,
                               1.0f + 0x1p-11f,
                               1.0f + 0x1.8p-10f,
                               1.0f + 0x1p-11f + 0x1p-23f,
                               2.0f - 0x1p-23f};
  std::uint32_t state = 7;
  for (int i = 0; i < 100'000; ++i) {
    state = state * 1664525u + 1013904223u;
    const float value = std::bit_cast<float>(state);
    if (!std::isnan(value)) values.push_back(value);
  }
  const auto count = static_cast<std::int64_t>(values.size());
  const at::Tensor rounded = Round(at::from_blob(values.data(), {count}).clone());
  const float* got = rounded.const_data_ptr<float>();
  for (std::int64_t i = 0; i < count; ++i) {
    ASSERT_EQ(BitsOf(got[i]), BitsOf(Nearest(values[static_cast<std::size_t>(i)])))
        << values[static_cast<std::size_t>(i)];
  }
}

TEST(RoundTf32Test, NanStaysNan) {
  std::vector<float> values;
  for (const std::uint32_t bits : {0x7fc00000u, 0x7f800001u, 0xffffffffu, 0x7fffffffu}) {
    values.push_back(std::bit_cast<float>(bits));
  }
  EXPECT_TRUE(Round(at::from_blob(values.data(), {4}).clone()).isnan().all().item<bool>());
}

TEST(RoundTf32Test, OnlyFp32IsRounded) {
  EXPECT_THROW(Round(at::ones({2}, at::kHalf)), c10::Error);
  EXPECT_THROW(RoundGradient(at::ones({2}, at::kDouble)), c10::Error);
}

TEST(RoundTf32Test, AnOperandsGradientPassesAsItIs) {
  at::Tensor x = at::full({3}, 1.0f + 0x1p-20f).requires_grad_(true);
  const at::Tensor incoming = at::full({3}, 3.0f + 0x1p-20f);
  Round(x).backward(incoming);
  EXPECT_TRUE(at::equal(x.grad(), incoming));
}

TEST(RoundTf32Test, AResultPassesAsItIsAndItsGradientIsRounded) {
  at::Tensor x = at::full({3}, 1.0f + 0x1p-20f).requires_grad_(true);
  const at::Tensor result = RoundGradient(x);
  EXPECT_TRUE(at::equal(result.detach(), x.detach()));
  result.backward(at::full({3}, 3.0f + 0x1p-20f));
  EXPECT_TRUE(at::equal(x.grad(), at::full({3}, 3.0f)));
}

}  // namespace
}  // namespace mantissa::trainer
