#include "process/ids.h"

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

RandomSource Constant(std::uint8_t byte) {
  return [byte](absl::Span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), byte); };
}

WallTime At(std::int64_t milliseconds) { return WallTime(std::chrono::milliseconds(milliseconds)); }

TEST(UlidTest, EncodesTimeAndRandomBitsAsTheSpecificationSays) {
  // The time of the specification's own example, 01ARZ3NDEK...
  UlidSource zero(Constant(0));
  EXPECT_EQ(zero.Next(At(1'469'922'850'259)), "01arz3ndek" + std::string(16, '0'));
  UlidSource ones(Constant(0xff));
  EXPECT_EQ(ones.Next(At(1'469'922'850'259)), "01arz3ndek" + std::string(16, 'z'));
}

TEST(UlidTest, GrowsWithinAMillisecond) {
  UlidSource source(Constant(0));
  std::string last = source.Next(At(1000));
  for (int i = 0; i < 1000; ++i) {
    const std::string next = source.Next(At(1000));
    EXPECT_LT(last, next);
    last = next;
  }
}

TEST(UlidTest, GrowsWhenTheWallClockStepsBack) {
  UlidSource source;
  const std::string before = source.Next(At(2'000'000'000'000));
  EXPECT_LT(before, source.Next(At(1'000'000'000'000)));
}

TEST(UlidTest, GrowsWhenTheRandomPartIsAtItsEnd) {
  UlidSource source(Constant(0xff));
  const std::string before = source.Next(At(1000));
  const std::string after = source.Next(At(1000));
  EXPECT_LT(before, after);
  EXPECT_EQ(after, UlidSource(Constant(0)).Next(At(1001)));
}

TEST(UlidTest, ACarryGoesFromTheLowToTheHighRandomBits) {
  UlidSource source([](absl::Span<std::uint8_t> bytes) {
    std::fill(bytes.begin(), bytes.end(), 0xff);
    bytes[0] = bytes[1] = 0;
  });
  const std::string before = source.Next(At(1000));
  const std::string after = source.Next(At(1000));
  EXPECT_LT(before, after);
}

TEST(UlidTest, TimesBeforeTheEpochAndAfterItsEndStayInTheFormat) {
  EXPECT_EQ(UlidSource(Constant(0)).Next(At(-5)), std::string(26, '0').substr(0, 25) + "1");
  EXPECT_TRUE(IsUlid(UlidSource().Next(WallTime::max())));
}

TEST(UlidTest, ThreadsNeverGetTheSame) {
  UlidSource source;
  std::vector<std::vector<std::string>> made(4);
  std::vector<std::thread> threads;
  for (auto& list : made) {
    threads.emplace_back([&] {
      for (int i = 0; i < 500; ++i) list.push_back(source.Next(At(5)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& list : made) all.insert(list.begin(), list.end());
  EXPECT_EQ(all.size(), 2000u);
}

TEST(UlidTest, KnowsItsOwnForm) {
  EXPECT_TRUE(IsUlid(UlidSource().Next(RealClock().WallNow())));
  EXPECT_TRUE(IsUlid("7zzzzzzzzzzzzzzzzzzzzzzzzz"));
  EXPECT_FALSE(IsUlid("8zzzzzzzzzzzzzzzzzzzzzzzzz"));
  EXPECT_FALSE(IsUlid(""));
  EXPECT_FALSE(IsUlid("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
  EXPECT_FALSE(IsUlid("01arz3ndektsv4rrffq69g5fau"));
  EXPECT_FALSE(IsUlid("01arz3ndektsv4rrffq69g5fa"));
  EXPECT_FALSE(IsUlid("01arz3ndektsv4rrffq69g5f/v"));
}

TEST(TokenTest, HasSixteenBytesAndDiffersEachTime) {
  EXPECT_EQ(RandomToken().size(), 16u);
  EXPECT_NE(RandomToken(), RandomToken());
  EXPECT_EQ(RandomToken(Constant(0xab)), std::string(16, '\xab'));
}

TEST(UuidTest, SaysItsVersionAndVariant) {
  EXPECT_EQ(RandomUuid(Constant(0xff)), "ffffffff-ffff-4fff-bfff-ffffffffffff");
  EXPECT_EQ(RandomUuid(Constant(0x00)), "00000000-0000-4000-8000-000000000000");
  EXPECT_TRUE(IsUuid(RandomUuid()));
  EXPECT_NE(RandomUuid(), RandomUuid());
}

TEST(UuidTest, RefusesOtherForms) {
  EXPECT_FALSE(IsUuid(""));
  EXPECT_FALSE(IsUuid("FFFFFFFF-ffff-4fff-bfff-ffffffffffff"));
  EXPECT_FALSE(IsUuid("ffffffffffff-4fff-bfff-ffffffffffffff"));
  EXPECT_FALSE(IsUuid("ffffffff-ffff-4fff-bfff-ffffffffffff\n"));
}

TEST(HexTest, GoesThereAndBack) {
  const std::string bytes("\x00\x7f\x80\xff", 4);
  EXPECT_EQ(HexEncode(bytes), "007f80ff");
  EXPECT_EQ(HexDecode("007f80ff").value(), bytes);
  EXPECT_EQ(HexDecode("007F80FF").value(), bytes);
  EXPECT_EQ(HexDecode("").value(), "");
}

TEST(HexTest, RefusesWhatIsNotHexadecimal) {
  for (const char* text : {"0", "0g", "zz", " 00", "0x00"}) EXPECT_FALSE(HexDecode(text).ok()) << text;
}

TEST(ConstantTimeEqualsTest, ComparesWholeTexts) {
  EXPECT_TRUE(ConstantTimeEquals("", ""));
  EXPECT_TRUE(ConstantTimeEquals("abc", "abc"));
  EXPECT_FALSE(ConstantTimeEquals("abc", "abd"));
  EXPECT_FALSE(ConstantTimeEquals("abc", "xbc"));
  EXPECT_FALSE(ConstantTimeEquals("abc", "abcd"));
  EXPECT_FALSE(ConstantTimeEquals(std::string_view("a\0b", 3), std::string_view("a\0c", 3)));
  // Differences that cancel under a sum or a plain xor of all bytes.
  EXPECT_FALSE(ConstantTimeEquals("ab", "ba"));
  EXPECT_FALSE(ConstantTimeEquals("aa", "bb"));
}

}  // namespace
}  // namespace mantissa::process
