#include "process/nearest_name.h"

#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

const std::vector<std::string>& Names() {
  static const std::vector<std::string> names = {"batch_size", "accumulation", "max_grad_norm", "seed"};
  return names;
}

TEST(NearestNameTest, FindsATypo) {
  EXPECT_EQ(NearestName("bacth_size", Names()), "batch_size");
  EXPECT_EQ(NearestName("batchsize", Names()), "batch_size");
  EXPECT_EQ(NearestName("sede", Names()), "seed");
  EXPECT_EQ(NearestName("acumulation", Names()), "accumulation");
}

TEST(NearestNameTest, SaysNothingWhereNothingIsNear) {
  EXPECT_EQ(NearestName("zzzzzzzzzz", Names()), "");
  EXPECT_EQ(NearestName("", Names()), "");
  EXPECT_EQ(NearestName("seed", {}), "");
  EXPECT_EQ(NearestName(std::string(100'000, 'a'), Names()), "");
}

TEST(NearestNameTest, TakesTheFirstOfSeveralAsNear) { EXPECT_EQ(NearestName("ac", {"ab", "ad"}), "ab"); }

TEST(NearestNameTest, ASwapOfNeighboursIsOneChange) { EXPECT_EQ(NearestName("ba", {"bcd", "ab"}), "ab"); }

}  // namespace
}  // namespace mantissa::process
