// The macros are tested as a fault build has them.
#ifndef MANTISSA_FAILPOINTS
#define MANTISSA_FAILPOINTS 1
#endif
#include "process/failpoint.h"

#include <csignal>
#include <stdlib.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

using testing::HasSubstr;

FailpointSet::Actions Parsed(std::string_view text) {
  auto actions = FailpointSet::Parse(text);
  EXPECT_TRUE(actions.ok()) << actions.status();
  return actions.ok() ? *actions : FailpointSet::Actions();
}

TEST(FailpointTest, UnconfiguredNamesDoNothing) {
  FailpointSet set(Parsed(""));
  EXPECT_FALSE(set.Hit("store.before_commit").has_value());
}

TEST(FailpointTest, WithoutANumberItActsAtEveryHit) {
  FailpointSet set(Parsed("a=error"));
  for (int i = 0; i < 3; ++i) {
    const auto action = set.Hit("a");
    ASSERT_TRUE(action.has_value());
    EXPECT_EQ(action->kind, FailpointAction::Kind::kError);
  }
  EXPECT_FALSE(set.Hit("b").has_value());
}

TEST(FailpointTest, WithANumberItActsAtThatHitOnly) {
  FailpointSet set(Parsed("a=crash:3"));
  EXPECT_FALSE(set.Hit("a").has_value());
  EXPECT_FALSE(set.Hit("a").has_value());
  EXPECT_EQ(set.Hit("a")->kind, FailpointAction::Kind::kCrash);
  EXPECT_FALSE(set.Hit("a").has_value());
}

TEST(FailpointTest, SeveralEntriesOfANameShareItsCount) {
  FailpointSet set(Parsed("a=error:1, a=sleep_ms(5):2 ,b=error"));
  EXPECT_EQ(set.Hit("a")->kind, FailpointAction::Kind::kError);
  const auto second = set.Hit("a");
  EXPECT_EQ(second->kind, FailpointAction::Kind::kSleep);
  EXPECT_EQ(second->sleep, std::chrono::milliseconds(5));
  EXPECT_TRUE(set.Hit("b").has_value());
}

TEST(FailpointTest, TextThatCannotBeParsedIsAnError) {
  for (const char* text : {"a", "a=", "=crash", "a=explode", "a=crash:0", "a=crash:x", "a=crash:-1", "a=crash:1:2",
                           "a=sleep_ms()", "a=sleep_ms(-1)", "a=sleep_ms(99999999)", "a=sleep_ms(1"}) {
    const auto parsed = FailpointSet::Parse(text);
    EXPECT_FALSE(parsed.ok()) << text;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr("name=crash")) << text;
  }
}

// Each case is a process of its own, so that the environment is read afresh.
class FailpointDeathTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(FailpointDeathTest, CrashIsASigkill) {
  EXPECT_EXIT(
      {
        ::setenv("MANTISSA_FAILPOINTS", "here=crash:2", 1);
        MANTISSA_FAILPOINT("here");
        std::fputs("first hit passed\n", stderr);
        MANTISSA_FAILPOINT("here");
        std::_Exit(0);
      },
      testing::KilledBySignal(SIGKILL), "first hit passed");
}

TEST_F(FailpointDeathTest, ErrorIsAStatusThatNamesThePlace) {
  EXPECT_EXIT(
      {
        ::setenv("MANTISSA_FAILPOINTS", "here=error", 1);
        const absl::Status status = MANTISSA_FAILPOINT_STATUS("here");
        const bool other = MANTISSA_FAILPOINT_STATUS("there").ok();
        std::fputs(std::string(status.message()).c_str(), stderr);
        std::_Exit(absl::IsInternal(status) && other ? 0 : 1);
      },
      testing::ExitedWithCode(0), "failpoint 'here'");
}

// Ends with 0 when the environment is refused, after saying how.
[[noreturn]] void ExitRefused(const char* environment) {
  ::setenv("MANTISSA_FAILPOINTS", environment, 1);
  const absl::Status status = MANTISSA_FAILPOINTS_STATUS();
  std::fputs(std::string(status.message()).c_str(), stderr);
  std::_Exit(absl::IsInvalidArgument(status) ? 0 : 1);
}

TEST_F(FailpointDeathTest, ANameThatTheProgramDoesNotHaveIsRefusedWithThoseThatItHas) {
  EXPECT_EXIT(ExitRefused("here=error,hare=crash"), testing::ExitedWithCode(0),
              "there is no failpoint 'hare'; this program has .*here, .*there");
}

TEST_F(FailpointDeathTest, TextThatCannotBeParsedIsRefusedBeforeTheFirstHit) {
  EXPECT_EXIT(ExitRefused("here=exlode"), testing::ExitedWithCode(0), "failpoint 'here=exlode': write name=crash");
}

TEST_F(FailpointDeathTest, HelpTellsTheNames) {
  EXPECT_EXIT(ExitRefused("help"), testing::ExitedWithCode(0), "this program has .*here, .*there");
}

TEST_F(FailpointDeathTest, WhatTheProgramHasIsTaken) {
  EXPECT_EXIT(ExitRefused("here=error,there=crash:2"), testing::ExitedWithCode(1), "");
}

TEST_F(FailpointDeathTest, BadTextEndsTheProcessAtTheFirstHit) {
  EXPECT_EXIT(
      {
        ::setenv("MANTISSA_FAILPOINTS", "here=exlode", 1);
        MANTISSA_FAILPOINT("here");
        std::_Exit(0);
      },
      testing::KilledBySignal(SIGABRT), "MANTISSA_FAILPOINTS: ");
}

}  // namespace
}  // namespace mantissa::process
