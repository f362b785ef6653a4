#include <cmath>
#include <cstdint>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/unit/kernels/ops.h"
#include "worker/kernels/initial_values/initial_draw.h"

namespace mantissa::trainer {
namespace {

constexpr std::uint32_t kAll = 1u << 24;
// Four units in the last place of a double near 1.
constexpr double kTiny = 4 * 0x1p-52;

TEST(InitialDrawTest, LogarithmsAreTheLibrarysToTheLastPlaces) {
  for (std::uint32_t m = 1; m <= kAll; m += m < 5000 || m > kAll - 5000 ? 1 : 37) {
    const double expected = std::log(static_cast<double>(m) / kAll);
    ASSERT_NEAR(kernels::LogOf24Bits(m), expected, kTiny * std::max(std::abs(expected), 1e-7)) << m;
  }
  EXPECT_EQ(kernels::LogOf24Bits(kAll), 0);
}

TEST(InitialDrawTest, CosinesAndSinesAreTheLibrarysToTheLastPlaces) {
  for (std::uint32_t k = 0; k < kAll; k += k % (1u << 21) < 2000 || k % (1u << 21) > (1u << 21) - 2000 ? 1 : 41) {
    const double angle = 2 * 3.14159265358979323846 * (static_cast<double>(k) / kAll);
    const kernels::CosineAndSine at = kernels::CosineAndSineOf24Bits(k);
    ASSERT_NEAR(at.cosine, std::cos(angle), 2 * kTiny) << k;
    ASSERT_NEAR(at.sine, std::sin(angle), 2 * kTiny) << k;
  }
  EXPECT_EQ(kernels::CosineAndSineOf24Bits(0).cosine, 1);
  EXPECT_EQ(kernels::CosineAndSineOf24Bits(kAll / 4).sine, 1);
  EXPECT_EQ(kernels::CosineAndSineOf24Bits(kAll / 2).cosine, -1);
  EXPECT_EQ(kernels::CosineAndSineOf24Bits(kAll / 4 * 3).sine, -1);
}

TEST(InitialValuesTest, NormalsAreBoxAndMullersOfTheDocumentedDraw) {
  // Elements 4 to 7 share the draw with the counter (1, 0, parameter, all ones).
  const Philox4 words = Philox({{1, 0, 9, 0xFFFFFFFF}}, 123);
  const at::Tensor values = at::zeros({8});
  OpFillInitial(values, 123, 9, 0.02, true);
  for (int pair = 0; pair < 2; ++pair) {
    const double u = static_cast<double>(words.word[2 * pair] >> 8) / kAll;
    const double angle = 2 * 3.14159265358979323846 * static_cast<double>(words.word[2 * pair + 1] >> 8) / kAll;
    const double radius = 0.02 * std::sqrt(-2 * std::log(1 - u));
    EXPECT_FLOAT_EQ(values[4 + 2 * pair].item<float>(), static_cast<float>(radius * std::cos(angle)));
    EXPECT_FLOAT_EQ(values[5 + 2 * pair].item<float>(), static_cast<float>(radius * std::sin(angle)));
  }
}

// A tensor that several threads fill holds what its parts would.
TEST(InitialValuesTest, AnElementDoesNotDependOnTheSizeOfTheTensor) {
  const at::Tensor large = at::zeros({(1 << 20) + 3}), small = at::zeros({17});
  OpFillInitial(large, 5, 1, 1, true);
  OpFillInitial(small, 5, 1, 1, true);
  EXPECT_TRUE(at::equal(large.narrow(0, 0, 17), small));
}

TEST(InitialValuesTest, WhatIsNotAContiguousFp32TensorIsRefused) {
  EXPECT_THROW(OpFillInitial(at::zeros({4}, at::kHalf), 1, 1, 1, true), c10::Error);
  EXPECT_THROW(OpFillInitial(at::zeros({4, 4}).t().narrow(0, 0, 2), 1, 1, 1, true), c10::Error);
}

}  // namespace
}  // namespace mantissa::trainer
