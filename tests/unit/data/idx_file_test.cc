#include "worker/data/idx_file.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/data/data_folder.h"

namespace mantissa::trainer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Idx(const std::vector<std::uint32_t>& sizes, const std::string& elements, char type = 8) {
  std::string bytes = IdxBytes(sizes, elements);
  bytes[2] = type;
  return bytes;
}

std::string Fault(const std::string& bytes) {
  const auto array = ParseIdx(bytes);
  EXPECT_FALSE(array.ok());
  return std::string(array.status().message());
}

TEST(ParseIdxTest, ReadsSizesAndElements) {
  const std::string bytes = Idx({2, 1, 3}, "abcdef");
  const auto array = ParseIdx(bytes);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_THAT(array->sizes, ElementsAre(2, 1, 3));
  EXPECT_EQ(array->elements, "abcdef");
}

TEST(ParseIdxTest, NamesEachFault) {
  EXPECT_THAT(Fault(""), HasSubstr("empty"));
  EXPECT_THAT(Fault("\x1f\x8b\x08"), HasSubstr("gunzip"));
  EXPECT_THAT(Fault("PNG."), HasSubstr("does not begin like an IDX file"));
  EXPECT_THAT(Fault(Idx({1}, "a", 0x0d)), HasSubstr("0x0d"));
  EXPECT_THAT(Fault(std::string("\0\0\x08\0", 4)), HasSubstr("0 dimensions"));
  EXPECT_THAT(Fault(Idx({1, 1, 1, 1, 1}, "a")), HasSubstr("5 dimensions"));
  EXPECT_THAT(Fault(Idx({3}, "ab")), HasSubstr("truncated"));
  EXPECT_THAT(Fault(Idx({3}, "abcd")), HasSubstr("too long"));
  EXPECT_THAT(Fault(Idx({0, 4}, "")), HasSubstr("no elements"));
}

TEST(ParseIdxTest, HugeSizesDoNotOverflowIntoSmallOnes) {
  // 2^32 - 1 to the fourth power, and a product that is 0 modulo 2^64.
  EXPECT_THAT(Fault(Idx({~0U, ~0U, ~0U, ~0U}, "a")), HasSubstr("truncated"));
  EXPECT_THAT(Fault(Idx({1U << 31, 1U << 31, 4}, "")), HasSubstr("truncated"));
}

TEST(ParseIdxTest, EveryTruncationIsAnError) {
  const std::string bytes = Idx({2, 3}, "abcdef");
  for (std::size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(ParseIdx(bytes.substr(0, size)).ok()) << size;
}

}  // namespace
}  // namespace mantissa::trainer
