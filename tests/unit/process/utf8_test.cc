#include "process/utf8.h"

#include "gtest/gtest.h"

namespace mantissa::process {
namespace {

TEST(Utf8Test, AWholeTextThatFitsIsLeftAsItIs) {
  EXPECT_EQ(Utf8Prefix("", 0), "");
  EXPECT_EQ(Utf8Prefix("aé€😀", 100), "aé€😀");
  EXPECT_EQ(Utf8Prefix("aé€😀", 10), "aé€😀") << "1 + 2 + 3 + 4 bytes";
}

TEST(Utf8Test, ACutNeverFallsIntoACharacter) {
  EXPECT_EQ(Utf8Prefix("aé€😀", 9), "aé€");
  EXPECT_EQ(Utf8Prefix("aé€😀", 6), "aé€");
  EXPECT_EQ(Utf8Prefix("aé€😀", 5), "aé");
  EXPECT_EQ(Utf8Prefix("aé€😀", 2), "a");
  EXPECT_EQ(Utf8Prefix("aé€😀", 0), "");
}

TEST(Utf8Test, BytesThatAreNoCharacterAreReplacedOneByOne) {
  EXPECT_EQ(Utf8Prefix("a\xff\xc3", 100), "a\uFFFD\uFFFD");
  EXPECT_EQ(Utf8Prefix("\xc0\xaf", 100), "\uFFFD\uFFFD") << "an overlong form";
  EXPECT_EQ(Utf8Prefix("\xed\xa0\x80", 100), "\uFFFD\uFFFD\uFFFD") << "a surrogate";
  EXPECT_EQ(Utf8Prefix("\xff\xff", 5), "\uFFFD") << "what is put in counts";
}

}  // namespace
}  // namespace mantissa::process
