#include "proto/spec/head_rows.h"

#include <limits>

#include "gtest/gtest.h"

namespace mantissa::spec {
namespace {

TEST(RowsAtOnceTest, AreAllWhereAllMayBe) {
  EXPECT_EQ(RowsAtOnce(1000, 10, 10'000), 1000);
  EXPECT_EQ(RowsAtOnce(1, 10, 1), 1);
}

TEST(RowsAtOnceTest, AreElsePiecesOfOneSizeInWholeTiles) {
  EXPECT_EQ(RowsAtOnce(1000, 10, 9'999), 512) << "two of 500";
  EXPECT_EQ(RowsAtOnce(1000, 10, 2'560), 256) << "four of 250";
  EXPECT_EQ(RowsAtOnce(32 * 1024, 50'304 * 2, kMostLogitsBytes), 11'008) << "GPT-2 in three";
}

TEST(RowsAtOnceTest, AreNoOverflowOfAnything) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(RowsAtOnce(kMost, kMost, kMost), 128);
  EXPECT_EQ(RowsAtOnce(0, 0, 0), 0);
}

TEST(RowsAtOnceTest, AreNeverLessThanATile) {
  EXPECT_EQ(RowsAtOnce(1000, 1 << 20, 1), 128);
  EXPECT_EQ(RowsAtOnce(100, 1 << 20, 1), 100) << "but no more than there are";
}

}  // namespace
}  // namespace mantissa::spec
