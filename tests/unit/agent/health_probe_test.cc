// What `mantissa-worker health` makes of what it is answered.
#include "worker/agent/health_probe.h"

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/unit/agent/scripted_http_server.h"

namespace mantissa::agent {
namespace {

using testing::HasSubstr;

// `127.0.0.1:PORT` of a server.
std::string AddressOf(const ScriptedHttpServer& server) { return server.uri().substr(std::string("http://").size()); }
std::string PortOf(const ScriptedHttpServer& server) { return server.uri().substr(server.uri().rfind(':') + 1); }

std::string Page(int connected) {
  return absl::StrCat("# TYPE mantissa_worker_connected gauge\nmantissa_worker_connected ", connected,
                      "\nmantissa_worker_connected_other 1\n");
}

TEST(HealthProbe, AWorkerThatReachesItsServerIsHealthy) {
  ScriptedHttpServer worker;
  worker.Then(ScriptedHttpServer::Says(200, Page(1)));
  EXPECT_TRUE(AskHealth(AddressOf(worker)).ok()) << AskHealth(AddressOf(worker));
  EXPECT_EQ(worker.requests()[0].line, "GET /metrics HTTP/1.1");
}

TEST(HealthProbe, OneThatListensEverywhereIsFoundOnThisMachine) {
  ScriptedHttpServer worker;
  worker.Then(ScriptedHttpServer::Says(200, Page(1)));
  for (const std::string host : {"0.0.0.0:", "[::]:", ":", ""}) {
    EXPECT_TRUE(AskHealth(host + PortOf(worker)).ok()) << host << ": " << AskHealth(host + PortOf(worker));
  }
}

TEST(HealthProbe, AProxyOfTheEnvironmentIsPassedBy) {
  ScriptedHttpServer worker;
  worker.Then(ScriptedHttpServer::Says(200, Page(1)));
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  const absl::Status health = AskHealth(AddressOf(worker));
  ::unsetenv("http_proxy");
  EXPECT_TRUE(health.ok()) << health;
}

TEST(HealthProbe, OneThatIsCutOffIsNot) {
  ScriptedHttpServer worker;
  worker.Then(ScriptedHttpServer::Says(200, Page(0)));
  const absl::Status health = AskHealth(AddressOf(worker));
  EXPECT_TRUE(absl::IsUnavailable(health));
  EXPECT_THAT(std::string(health.message()), HasSubstr("does not reach its server"));
}

TEST(HealthProbe, SomethingElseAtThatPortIsNoWorker) {
  ScriptedHttpServer other;
  other.Then(ScriptedHttpServer::Says(404, Page(1)));
  EXPECT_THAT(std::string(AskHealth(AddressOf(other)).message()), HasSubstr("HTTP 404"));
}

TEST(HealthProbe, NobodyAtThatPortIsUnavailable) {
  std::string address;
  { address = AddressOf(ScriptedHttpServer()); }
  const absl::Status health = AskHealth(address);
  EXPECT_TRUE(absl::IsUnavailable(health));
  EXPECT_THAT(std::string(health.message()), HasSubstr("no worker answers at " + address));
}

TEST(HealthProbe, AWorkerOnAnyPortCannotBeAsked) {
  for (const std::string listen : {"127.0.0.1:0", "127.0.0.1:", "127.0.0.1:http"}) {
    const absl::Status health = AskHealth(listen);
    EXPECT_TRUE(absl::IsInvalidArgument(health)) << listen;
    EXPECT_THAT(std::string(health.message()), HasSubstr("--metrics-listen"));
  }
}

}  // namespace
}  // namespace mantissa::agent
