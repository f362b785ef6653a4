// The completion scripts, in the shells they are for.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/cli/run_cli.h"

namespace mantissa::cli {
namespace {

using ::testing::HasSubstr;

struct ShellRun {
  int code = -1;
  std::string output;
};

ShellRun Shell(const std::string& command) {
  ShellRun run;
  FILE* pipe = ::popen(absl::StrCat("{ ", command, "; } 2>&1").c_str(), "r");
  if (pipe == nullptr) return run;
  std::array<char, 4096> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) run.output += buffer.data();
  const int status = ::pclose(pipe);
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

std::string ScriptFile(const std::string& shell) {
  const CliRun run = RunCli({"completion", shell});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  const std::string path = absl::StrCat(::testing::TempDir(), "/mantissa_completion_", ::getpid(), ".", shell);
  std::ofstream(path) << run.out;
  return path;
}

TEST(Completion, BashTakesTheScript) {
  const ShellRun run = Shell("bash -n " + ScriptFile("bash"));
  EXPECT_EQ(run.code, 0) << run.output;
}

// What bash offers for the words, the last of which is being written.
std::string Offered(const std::string& words) {
  return Shell(absl::StrCat("bash -c 'source ", ScriptFile("bash"),
                            "; _mantissa_jobs() { echo digits; echo gpt-text; }; compopt() { :; }; COMP_WORDS=(", words,
                            "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _mantissa; echo \"${COMPREPLY[*]}\"'"))
      .output;
}

TEST(Completion, BashOffersCommandsOptionsChoicesAndJobs) {
  EXPECT_EQ(Offered("mantissa su"), "submit\n");
  EXPECT_EQ(Offered("mantissa watch di"), "digits\n");
  EXPECT_EQ(Offered("mantissa pl"), "plot\n");
  EXPECT_EQ(Offered("mantissa plot digits --pn"), "--png\n");
  EXPECT_EQ(Offered("mantissa --address h:1 watch g"), "gpt-text\n");
  EXPECT_EQ(Offered("mantissa watch --from"), "--from-now\n");
  EXPECT_EQ(Offered("mantissa list -o j"), "json\n");
  EXPECT_EQ(Offered("mantissa list --state can"), "cancelling cancelled\n");
  EXPECT_EQ(Offered("mantissa cancel --state que"), "queued\n");
  EXPECT_EQ(Offered("mantissa cancel digits gp"), "gpt-text\n");
  EXPECT_EQ(Offered("mantissa completion f"), "fish\n");
  EXPECT_EQ(Offered("mantissa report di"), "digits\n");
  EXPECT_EQ(Offered("mantissa explain scaler"), "scaler_study\n");
  EXPECT_EQ(Offered("mantissa explain train"), "training\n");
}

TEST(Completion, ZshTakesTheScript) {
  if (Shell("command -v zsh").code != 0) GTEST_SKIP() << "zsh is not installed";
  const ShellRun run = Shell("zsh -n " + ScriptFile("zsh"));
  EXPECT_EQ(run.code, 0) << run.output;
}

TEST(Completion, FishTakesTheScript) {
  if (Shell("command -v fish").code != 0) GTEST_SKIP() << "fish is not installed";
  const ShellRun run = Shell("fish --no-execute " + ScriptFile("fish"));
  EXPECT_EQ(run.code, 0) << run.output;
}

TEST(Completion, NamesEveryCommandInEveryShell) {
  for (const char* shell : {"bash", "zsh", "fish"}) {
    const std::string script = RunCli({"completion", shell}).out;
    for (const char* command :
         {"submit",      "validate",           "list",   "get",     "watch", "wait",     "cancel", "logs",
          "checkpoints", "download",           "roots",  "workers", "top",   "attempts", "events", "doctor",
          "version",     "describe-precision", "report", "explain"}) {
      EXPECT_THAT(script, HasSubstr(command)) << shell;
    }
    EXPECT_THAT(script, HasSubstr("list -o name")) << shell;
  }
}

}  // namespace
}  // namespace mantissa::cli
