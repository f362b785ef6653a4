// `mantissa health` against a server over a socket.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"

namespace mantissa::cli {
namespace {

using ::testing::HasSubstr;

TEST(Health, AServerThatTakesJobsIsServing) {
  const FakeServer server;
  const CliRun run = RunCli({"health", "--address", server.address()});
  EXPECT_EQ(run.code, kExitOk) << run.err;
  EXPECT_EQ(run.out, "SERVING\n");
}

TEST(Health, OneThatStandsByAnswersButTakesNone) {
  FakeServer server;
  server.SayReady(false);
  const CliRun ready = RunCli({"health", "--address", server.address()});
  EXPECT_EQ(ready.code, kExitUnavailable);
  EXPECT_EQ(ready.out, "NOT_SERVING\n");
  const CliRun live = RunCli({"health", "--live", "--address", server.address()});
  EXPECT_EQ(live.code, kExitOk) << live.err;
  EXPECT_EQ(live.out, "SERVING\n");
}

TEST(Health, NoServerIsUnavailable) {
  std::string address;
  { address = FakeServer().address(); }
  const CliRun run = RunCli({"health", "--address", address});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.err, HasSubstr(address));
}

TEST(Health, JsonSaysWhoWasAskedWhat) {
  const FakeServer server;
  const CliRun run = RunCli({"health", "--address", server.address(), "-o", "json"});
  const nlohmann::json answer = nlohmann::json::parse(run.out);
  EXPECT_EQ(answer["address"], server.address());
  EXPECT_EQ(answer["service"], "mantissa.v1.JobService");
  EXPECT_EQ(answer["status"], "SERVING");
}

}  // namespace
}  // namespace mantissa::cli
