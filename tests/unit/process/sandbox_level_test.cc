#include "process/sandbox_level.h"

#include <gtest/gtest.h>

namespace mantissa::process {
namespace {

constexpr SandboxLevel kAll[] = {SandboxLevel::kNone, SandboxLevel::kSeccomp, SandboxLevel::kLandlock,
                                 SandboxLevel::kFull};

TEST(SandboxLevelTest, EveryNameIsReadBack) {
  for (const SandboxLevel level : kAll) EXPECT_EQ(ParseSandboxLevel(SandboxLevelName(level)), level);
  for (const char* text : {"", "Full", "full ", "seccomp,landlock", "most"})
    EXPECT_FALSE(ParseSandboxLevel(text)) << text;
}

TEST(SandboxLevelTest, ALevelSatisfiesWhatItHasEveryMeasureOf) {
  for (const SandboxLevel level : kAll) {
    EXPECT_TRUE(Satisfies(level, SandboxLevel::kNone));
    EXPECT_TRUE(Satisfies(SandboxLevel::kFull, level));
    EXPECT_TRUE(Satisfies(level, level));
    EXPECT_EQ(Satisfies(level, SandboxLevel::kFull), level == SandboxLevel::kFull);
  }
  EXPECT_FALSE(Satisfies(SandboxLevel::kSeccomp, SandboxLevel::kLandlock));
  EXPECT_FALSE(Satisfies(SandboxLevel::kLandlock, SandboxLevel::kSeccomp));
  EXPECT_FALSE(Satisfies(SandboxLevel::kNone, SandboxLevel::kSeccomp));
}

TEST(SandboxLevelTest, TheKernelsLevelSaysWhetherItHasLandlock) {
  EXPECT_EQ(Satisfies(KernelSandboxLevel(), SandboxLevel::kLandlock), LandlockAbi() > 0);
}

}  // namespace
}  // namespace mantissa::process
