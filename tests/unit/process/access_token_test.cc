#include "process/access_token.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::process {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kHash(64, 'a');

TEST(AccessTokenTest, IsLongRandomAndKnownByItsPrefix) {
  const std::string token = NewToken();
  EXPECT_EQ(token.size(), 9 + 64u);
  EXPECT_TRUE(token.starts_with("mantissa_"));
  EXPECT_NE(token, NewToken());
  const std::string fixed =
      NewToken([](absl::Span<std::uint8_t> bytes) { std::fill(bytes.begin(), bytes.end(), 0xab); });
  EXPECT_TRUE(fixed.ends_with("abababab")) << "every byte of it is random";
}

// As `printf %s abc | sha256sum` says (FIPS 180-2, appendix B.1).
TEST(AccessTokenTest, IsKeptAsItsSha256) {
  EXPECT_EQ(TokenHash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(TokenFileTest, ReadsWhatIsWrittenToIt) {
  const TokenEntry entry{kHash, "vision", Role::kUser, "alice's laptop"};
  const auto entries = ParseTokenFile("# tokens\n\n  " + FormatTokenEntry(entry) + "  \r\n" +
                                      FormatTokenEntry({std::string(64, 'b'), "ops", Role::kAdmin, ""}));
  ASSERT_TRUE(entries.ok()) << entries.status();
  ASSERT_EQ(entries->size(), 2u);
  EXPECT_EQ(entries->front().sha256, kHash);
  EXPECT_EQ(entries->front().tenant, "vision");
  EXPECT_EQ(entries->front().role, Role::kUser);
  EXPECT_EQ(entries->front().name, "alice's laptop");
  EXPECT_EQ(entries->back().role, Role::kAdmin);
  EXPECT_TRUE(ParseTokenFile("").ok()) << "nobody has a token";
}

TEST(TokenFileTest, SaysAllThatIsWrongAndRepeatsNothing) {
  const std::string secret = "mantissa_" + std::string(64, 'c');
  const auto entries = ParseTokenFile(secret + " vision user\n" +              // a token where its hash belongs
                                      "sha256:" + kHash + " vision\n" +        // no role
                                      "sha256:" + kHash + " Vision user\n" +   // no tenant
                                      "sha256:" + kHash + " vision owner\n" +  // no such role
                                      "sha256:" + kHash.substr(1) + " vision user\n" +
                                      "sha256:" + std::string(64, 'A') + " vision user\n" + "sha256:" + kHash +
                                      " vision user\n" + "sha256:" + kHash + " other admin\n");  // a second time
  ASSERT_FALSE(entries.ok());
  const std::string said(entries.status().message());
  for (const char* const line : {"line 1 ", "line 2 ", "line 3 ", "line 4 ", "line 5 ", "line 6 ", "line 8 "}) {
    EXPECT_THAT(said, HasSubstr(line));
  }
  EXPECT_THAT(said, Not(HasSubstr("line 7 ")));
  EXPECT_THAT(said, Not(HasSubstr("ccc")));
  EXPECT_THAT(said, Not(HasSubstr("aaa")));
}

TEST(AccessNameTest, IsAFolderAndAPartOfAUri) {
  for (const char* const good : {"a", "vision", "team-7", "0"}) EXPECT_TRUE(IsAccessName(good)) << good;
  EXPECT_TRUE(IsAccessName(std::string(63, 'a')));
  EXPECT_FALSE(IsAccessName(std::string(64, 'a')));
  for (const char* const bad : {"", "A", "a b", "..", "a/b", "a.b", "a_b", "\xc3\xa9", "a\n"}) {
    EXPECT_FALSE(IsAccessName(bad)) << bad;
  }
  EXPECT_FALSE(IsAccessName(std::string_view("a\0b", 3)));
}

TEST(RoleTest, HasOneName) {
  for (const Role role : {Role::kReader, Role::kUser, Role::kAdmin}) EXPECT_EQ(ParseRole(RoleName(role)), role);
  EXPECT_FALSE(ParseRole("root").has_value());
  EXPECT_FALSE(ParseRole("").has_value());
}

}  // namespace
}  // namespace mantissa::process
