#include "process/text_value.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

milliseconds Duration(std::string_view text) {
  const auto parsed = ParseDuration(text);
  EXPECT_TRUE(parsed.ok()) << text << ": " << parsed.status();
  return parsed.value_or(milliseconds(-1));
}

TEST(ParseDurationTest, ReadsEveryUnit) {
  EXPECT_EQ(Duration("500ms"), milliseconds(500));
  EXPECT_EQ(Duration("30s"), milliseconds(30'000));
  EXPECT_EQ(Duration("1.5s"), milliseconds(1'500));
  EXPECT_EQ(Duration("10m"), milliseconds(600'000));
  EXPECT_EQ(Duration("10min"), milliseconds(600'000));
  EXPECT_EQ(Duration("2h"), milliseconds(7'200'000));
  EXPECT_EQ(Duration("10000d"), milliseconds(std::int64_t{10'000} * 86'400'000));
  EXPECT_EQ(Duration("0"), milliseconds(0));
  EXPECT_EQ(Duration("0.001s"), milliseconds(1));
}

TEST(ParseDurationTest, RefusesWhatIsNoDurationAndSaysWhatWouldBe) {
  for (const char* text : {"", "s", "30", "-1s", "+1s", "1e3s", "nan", "infs", "1.2.3s", ".", "30 s", "30S", "0.0001s",
                           "10001d", "99999999999999999999h", "0x10s", "1s "}) {
    const auto parsed = ParseDuration(text);
    EXPECT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("such as 30s")) << text;
  }
  EXPECT_FALSE(ParseDuration(std::string_view("1s\0x", 4)).ok());
}

TEST(FormatDurationTest, IsReadBackExactly) {
  EXPECT_EQ(FormatDuration(milliseconds(0)), "0s");
  EXPECT_EQ(FormatDuration(milliseconds(1'500)), "1500ms");
  EXPECT_EQ(FormatDuration(milliseconds(90'000)), "90s");
  EXPECT_EQ(FormatDuration(milliseconds(120'000)), "2min");
  EXPECT_EQ(FormatDuration(milliseconds(86'400'000)), "1d");
  for (const std::int64_t count : {1L, 999L, 1'000L, 61'000L, 3'600'000L, 86'400'000L, 86'400'001L}) {
    EXPECT_EQ(Duration(FormatDuration(milliseconds(count))), milliseconds(count));
  }
}

TEST(ParseBytesTest, ReadsBinaryAndDecimalUnits) {
  EXPECT_EQ(ParseBytes("0").value(), 0);
  EXPECT_EQ(ParseBytes("17").value(), 17);
  EXPECT_EQ(ParseBytes("17B").value(), 17);
  EXPECT_EQ(ParseBytes("64MiB").value(), 64 << 20);
  EXPECT_EQ(ParseBytes("3GiB").value(), std::int64_t{3} << 30);
  EXPECT_EQ(ParseBytes("2kB").value(), 2'000);
  EXPECT_EQ(ParseBytes("2TB").value(), 2'000'000'000'000);
  EXPECT_EQ(ParseBytes("9223372036854775807").value(), std::numeric_limits<std::int64_t>::max());
}

TEST(ParseBytesTest, RefusesWhatIsNoByteCount) {
  for (const char* text :
       {"", "MiB", "-1", "1.5GiB", "64 MiB", "64mib", "9223372036854775808", "9000000TiB", "1e9", "0x10"}) {
    const auto parsed = ParseBytes(text);
    EXPECT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("such as 64MiB")) << text;
  }
}

TEST(FormatBytesTest, UsesTheLargestUnitThatDivides) {
  EXPECT_EQ(FormatBytes(0), "0B");
  EXPECT_EQ(FormatBytes(1'000), "1000B");
  EXPECT_EQ(FormatBytes(64 << 20), "64MiB");
  EXPECT_EQ(FormatBytes((64 << 20) + 1), "67108865B");
}

}  // namespace
}  // namespace mantissa::process
