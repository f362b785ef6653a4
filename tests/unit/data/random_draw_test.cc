#include "worker/data/random_draw.h"

#include <cmath>

#include <gtest/gtest.h>

namespace mantissa::trainer {
namespace {

// The known answers published with Random123 (kat_vectors, philox4x32 with 10 rounds).
TEST(RandomDrawTest, GivesThePublishedAnswers) {
  EXPECT_EQ(DrawBits(0, {0, 0}), (std::array<std::uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(DrawBits(~0ULL, {~0ULL, ~0ULL}),
            (std::array<std::uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(DrawBits(0x299f31d0a4093822ULL, {0x85a308d3243f6a88ULL, 0x0370734413198a2eULL}),
            (std::array<std::uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomDrawTest, KeyIndexAndStreamEachChangeTheNumbers) {
  const auto base = DrawBits(1, {1, 1});
  EXPECT_EQ(base, DrawBits(1, {1, 1}));
  EXPECT_NE(base, DrawBits(2, {1, 1}));
  EXPECT_NE(base, DrawBits(1, {2, 1}));
  EXPECT_NE(base, DrawBits(1, {1, 2}));
}

TEST(RandomDrawTest, UnitIntervalNeverReachesItsEnds) {
  EXPECT_GT(UnitInterval(0), 0.0);
  EXPECT_LT(UnitInterval(~0U), 1.0);
}

TEST(RandomDrawTest, NormalDrawsHaveMeanZeroAndVarianceOne) {
  double sum = 0;
  double squares = 0;
  constexpr int kDraws = 25000;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    for (const float x : DrawNormal(7, {i, 0})) {
      ASSERT_TRUE(std::isfinite(x));
      sum += x;
      squares += static_cast<double>(x) * x;
    }
  }
  EXPECT_NEAR(sum / (4 * kDraws), 0.0, 0.02);
  EXPECT_NEAR(squares / (4 * kDraws), 1.0, 0.02);
}

}  // namespace
}  // namespace mantissa::trainer
