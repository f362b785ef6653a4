#include "process/rooted_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

TEST(RootedPathTest, SplitsRootAndPath) {
  const auto path = ParseRootedPath("shared-1:digits/train-images.idx");
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(path->root, "shared-1");
  EXPECT_EQ(path->relative, "digits/train-images.idx");
}

TEST(RootedPathTest, WithoutAPrefixTheRootIsData) {
  const auto path = ParseRootedPath("digits/train-images.idx");
  ASSERT_TRUE(path.ok());
  EXPECT_EQ(path->root, "data");
  EXPECT_EQ(path->relative, "digits/train-images.idx");
}

TEST(RootedPathTest, OnlyTheFirstColonSplits) { EXPECT_EQ(ParseRootedPath("data:a:b")->relative, "a:b"); }

TEST(RootedPathTest, TakesNamesThatOnlyLookDangerous) {
  for (const char* path :
       {"..a", "a..", "...", "a/...b/c", "%2e%2e/x", "ünï/漢.idx", "a b", "~/x", "$HOME", "a\\..\\b"}) {
    EXPECT_TRUE(ParseRootedPath(path).ok()) << path;
  }
}

TEST(RootedPathTest, RefusesWhatCouldLeaveItsRootOrIsNoPath) {
  for (const std::string& path :
       {std::string(""),        std::string("data:"),     std::string("/etc/passwd"),  std::string("data:/etc/passwd"),
        std::string(".."),      std::string("../x"),      std::string("a/.."),         std::string("a/../b"),
        std::string("data:.."), std::string("a//../b"),   std::string("Data:x"),       std::string(":x"),
        std::string("a b:x"),   std::string("file:///x"), std::string("a/b:c"),        std::string("a\0b", 3),
        std::string("a\nb"),    std::string("\x1b[2J"),   std::string("a\x7f"),        std::string(64, 'r') + ":x",
        std::string(1025, 'a'), std::string(256, 'a'),    "x/" + std::string(256, 'a')}) {
    const auto parsed = ParseRootedPath(path);
    EXPECT_TRUE(absl::IsInvalidArgument(parsed.status())) << path;
  }
}

TEST(RootedPathTest, TakesTheLongestPathAndPart) {
  std::string path;
  for (int i = 0; i < 4; ++i) path += std::string(i == 3 ? 256 : 255, 'a').substr(0, 255) + "/";
  EXPECT_EQ(path.size(), kMaxRelativePathBytes);
  EXPECT_TRUE(ParseRootedPath(path).ok());
  EXPECT_FALSE(ParseRootedPath(path + "a").ok());
  EXPECT_TRUE(ParseRootedPath(std::string(255, 'a')).ok());
}

TEST(RootNameTest, IsLowerCaseDigitsAndDashes) {
  EXPECT_TRUE(IsRootName("data"));
  EXPECT_TRUE(IsRootName("0-a"));
  EXPECT_TRUE(IsRootName(std::string(63, 'a')));
  for (const char* name : {"", "Data", "a_b", "a.b", "a/b", "a b"}) EXPECT_FALSE(IsRootName(name)) << name;
  EXPECT_FALSE(IsRootName(std::string(64, 'a')));
}

}  // namespace
}  // namespace mantissa::process
