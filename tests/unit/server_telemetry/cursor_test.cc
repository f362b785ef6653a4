#include "server/telemetry/cursor.h"

#include <limits>
#include <string>

#include "gtest/gtest.h"

#include "server/core/errors.h"

namespace mantissa::server {
namespace {

constexpr char kJob[] = "01jd0000000000000000000000";

TEST(CursorTest, LeadsBackToItsSequence) {
  for (const int64_t sequence : {int64_t{1}, int64_t{2}, int64_t{1} << 40, std::numeric_limits<int64_t>::max()}) {
    const auto decoded = DecodeCursor(EncodeCursor(kJob, sequence), kJob);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(*decoded, sequence);
  }
}

TEST(CursorTest, IsRefusedWhenAnyByteOfItIsAnother) {
  const std::string cursor = EncodeCursor(kJob, 4711);
  for (size_t i = 0; i < cursor.size(); ++i) {
    for (const char c : {'0', '7', '9', 'a', '.', '-', '\0', '\xff'}) {
      std::string changed = cursor;
      changed[i] = c;
      if (changed == cursor) continue;
      const auto decoded = DecodeCursor(changed, kJob);
      EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument) << changed;
      EXPECT_EQ(ReasonOf(decoded.status()), "CURSOR_INVALID");
    }
  }
}

TEST(CursorTest, IsRefusedWhenItIsCutOrLonger) {
  const std::string cursor = EncodeCursor(kJob, 4711);
  for (size_t length = 0; length < cursor.size(); ++length) {
    EXPECT_FALSE(DecodeCursor(cursor.substr(0, length), kJob).ok()) << length;
  }
  EXPECT_FALSE(DecodeCursor(cursor + "0", kJob).ok());
  EXPECT_FALSE(DecodeCursor(" " + cursor, kJob).ok());
}

TEST(CursorTest, OfAnotherJobIsRefused) {
  EXPECT_FALSE(DecodeCursor(EncodeCursor("01jd0000000000000000000001", 5), kJob).ok());
}

TEST(CursorTest, BeforeTheFirstSequenceIsRefused) {
  EXPECT_FALSE(DecodeCursor(EncodeCursor(kJob, 0), kJob).ok());
  EXPECT_FALSE(DecodeCursor(EncodeCursor(kJob, -3), kJob).ok());
}

}  // namespace
}  // namespace mantissa::server
