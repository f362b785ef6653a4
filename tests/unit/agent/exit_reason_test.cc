#include "worker/agent/trainers/exit_reason.h"

#include <csignal>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace mantissa::agent {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr int Exited(int code) { return code << 8; }

TEST(ExitReasonTest, TellsKillsFromCrashes) {
  EXPECT_EQ(ExplainExit(SIGKILL, false, "").code, v1::Reason::KILLED);
  EXPECT_EQ(ExplainExit(SIGTERM, false, "").code, v1::Reason::KILLED);
  EXPECT_EQ(ExplainExit(SIGSEGV, false, "").code, v1::Reason::CRASHED);
  EXPECT_EQ(ExplainExit(SIGABRT, false, "").code, v1::Reason::CRASHED);
  EXPECT_EQ(ExplainExit(Exited(3), false, "").code, v1::Reason::CRASHED);
  EXPECT_EQ(ExplainExit(Exited(0), false, "").code, v1::Reason::CRASHED);
}

TEST(ExitReasonTest, NamesTheSignalTheCodeAndTheLastWords) {
  EXPECT_THAT(ExplainExit(SIGSEGV, false, "").message, HasSubstr("signal 11"));
  EXPECT_THAT(ExplainExit(Exited(3), false, "first\nterminate called\n\n").message,
              testing::AllOf(HasSubstr("code 3"), HasSubstr("terminate called"), Not(HasSubstr("first"))));
}

TEST(ExitReasonTest, AnOutOfMemoryKillSaysWhatToDo) {
  const ExitReason reason = ExplainExit(SIGKILL, true, "");
  EXPECT_EQ(reason.code, v1::Reason::OOM_KILLED);
  EXPECT_THAT(reason.message, HasSubstr("resources.memory_bytes"));
}

TEST(ExitReasonTest, EndlessLastWordsAreCut) {
  EXPECT_LT(ExplainExit(SIGABRT, false, std::string(100'000, 'x')).message.size(), 400u);
}

// The server could not read a report that quotes half a character, and would never hear from this worker again.
TEST(ExitReasonTest, LastWordsAreQuotedAsUtf8) {
  EXPECT_THAT(ExplainExit(SIGABRT, false, "path \xff\n").message, testing::EndsWith(": path \uFFFD"));
  const std::string cut = ExplainExit(SIGABRT, false, std::string(239, 'x') + "é").message;
  EXPECT_EQ(cut.back(), 'x') << "the bound falls into the é";
}

}  // namespace
}  // namespace mantissa::agent
