#include "worker/kernels/cpu/convert.h"

#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include <ATen/ATen.h>

#include "tests/unit/kernels/with_isa.h"

namespace mantissa::trainer {
namespace {

std::uint16_t Expected(at::ScalarType low, float value) {
  return low == at::kHalf ? c10::Half(value).x : c10::BFloat16(value).x;
}

bool IsNanBits(at::ScalarType low, std::uint16_t bits) {
  return low == at::kHalf ? (bits & 0x7fff) > 0x7c00 : (bits & 0x7fff) > 0x7f80;
}

class ConvertTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(ConvertTest, EveryLowValueSurvivesTheWayToFloatAndBack) {
  WithEachIsa([](cpu::Isa) {
    std::vector<std::uint16_t> all(65536), back(65536);
    for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
    std::vector<float> wide(65536);
    cpu::Widen(GetParam(), all.data(), 65536, wide.data());
    cpu::Narrow(GetParam(), wide.data(), 65536, back.data());
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (IsNanBits(GetParam(), all[i])) {
        ASSERT_TRUE(std::isnan(wide[i]));
        ASSERT_TRUE(IsNanBits(GetParam(), back[i]));
      } else {
        ASSERT_EQ(back[i], all[i]);
      }
    }
  });
}

TEST_P(ConvertTest, RoundsEveryBitPatternAsTheNumberTypesDo) {
  WithEachIsa([](cpu::Isa) {
    std::mt19937 random(7);
    std::vector<float> values;
    for (int i = 0; i < 200000; ++i) values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random())));
    // Halfway cases, the largest finite values and what rounds beyond them, subnormals, zeros.
    for (const float value : {1.00048828125f, 1.00146484375f, 65504.f, 65519.9f, 65520.f, 1e20f, 6e-8f, 2.98e-8f, 0.f,
                              -0.f, 1.00390625f, 1.01171875f, 3.4e38f, INFINITY, -INFINITY, NAN}) {
      values.push_back(value);
    }
    std::vector<std::uint16_t> low(values.size());
    std::vector<float> through(values.size());
    const std::int64_t count = static_cast<std::int64_t>(values.size());
    cpu::Narrow(GetParam(), values.data(), count, low.data());
    cpu::RoundThrough(GetParam(), values.data(), count, through.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::uint16_t expected = Expected(GetParam(), values[i]);
      if (std::isnan(values[i])) {
        ASSERT_TRUE(IsNanBits(GetParam(), low[i]));
        ASSERT_TRUE(std::isnan(through[i]));
        continue;
      }
      ASSERT_EQ(low[i], expected) << values[i];
      float wide = 0;
      cpu::Widen(GetParam(), &expected, 1, &wide);
      ASSERT_EQ(std::bit_cast<std::uint32_t>(through[i]), std::bit_cast<std::uint32_t>(wide)) << values[i];
    }
  });
}

TEST_P(ConvertTest, WritesNothingBeyondItsEnd) {
  WithEachIsa([](cpu::Isa) {
    for (std::int64_t count = 0; count <= 40; ++count) {
      std::vector<float> values(41, 1.5f), wide(41, 9.f), sums(41, 2.f);
      std::vector<std::uint16_t> low(41, 0xBEEF);
      cpu::Narrow(GetParam(), values.data(), count, low.data());
      cpu::Widen(GetParam(), low.data(), count, wide.data());
      cpu::RoundAndAdd(GetParam(), values.data(), count, sums.data());
      for (std::int64_t i = 0; i < 41; ++i) {
        const std::size_t at = static_cast<std::size_t>(i);
        ASSERT_EQ(low[at], i < count ? Expected(GetParam(), 1.5f) : 0xBEEF);
        ASSERT_EQ(wide[at], i < count ? 1.5f : 9.f);
        ASSERT_EQ(sums[at], i < count ? 3.5f : 2.f);
      }
    }
  });
}

TEST_P(ConvertTest, AddsTheRoundedValueAndNotTheExactOne) {
  const float exact = 1.0001f;  // 1 in both formats
  float sum = 4;
  cpu::RoundAndAdd(GetParam(), &exact, 1, &sum);
  EXPECT_EQ(sum, 5.0f);
}

INSTANTIATE_TEST_SUITE_P(LowTypes, ConvertTest, testing::Values(at::kHalf, at::kBFloat16),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

}  // namespace
}  // namespace mantissa::trainer
