#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "client/cli/doctor/diagnosis.h"
#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"

namespace mantissa::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Level = Finding::Level;

constexpr std::int64_t kNow = 1767268800;

DoctorFacts Healthy() {
  DoctorFacts facts;
  facts.own_version = "0.1.0";
  facts.address = "127.0.0.1:50051";
  facts.server.emplace().set_version("0.1.0");
  v1::Worker worker;
  worker.set_id("ws-1");
  worker.set_connected(true);
  worker.mutable_last_seen_time()->set_seconds(kNow - 3);
  worker.add_devices()->set_id("cpu-0");
  v1::Root& root = *worker.add_roots();
  root.set_name("data");
  root.set_writable(true);
  root.set_free_bytes(std::int64_t{50} << 30);
  facts.workers.emplace().push_back(worker);
  facts.now = std::chrono::system_clock::time_point(std::chrono::seconds(kNow));
  facts.free_here_bytes = std::int64_t{50} << 30;
  return facts;
}

// The worst finding on a subject.
Finding On(const DoctorFacts& facts, const std::string& subject) {
  Finding worst{Level::kOk, "", "nothing is said of " + subject, ""};
  for (const Finding& finding : Diagnose(facts)) {
    if (finding.subject == subject && (worst.subject.empty() || finding.level > worst.level)) worst = finding;
  }
  return worst;
}

TEST(Diagnosis, FindsNothingWrongWhenNothingIs) {
  for (const Finding& finding : Diagnose(Healthy())) {
    EXPECT_LE(finding.level, Level::kNote) << finding.what;
    EXPECT_EQ(finding.fix, "") << finding.what;
  }
}

TEST(Diagnosis, EveryFaultHasAFix) {
  DoctorFacts facts = Healthy();
  facts.own_version = "0.2.0";
  facts.workers->front().mutable_last_seen_time()->set_seconds(kNow - 7200);
  facts.workers->front().clear_devices();
  facts.workers->front().mutable_roots(0)->set_free_bytes(1000);
  facts.gpu.device_files = true;
  facts.free_here_bytes = 0;
  for (const Finding& finding : Diagnose(facts)) {
    EXPECT_EQ(finding.level >= Level::kWarning, !finding.fix.empty()) << finding.what;
  }
  EXPECT_EQ(On(facts, "version").level, Level::kWarning);
  EXPECT_THAT(On(facts, "clock").what, HasSubstr("2h 00m ahead of the server's"));
  EXPECT_EQ(On(facts, "worker").level, Level::kWarning);
  EXPECT_EQ(On(facts, "disk").level, Level::kWarning);
  EXPECT_EQ(On(facts, "gpu").level, Level::kError);
}

TEST(Diagnosis, TellsAClockThatIsBehind) {
  DoctorFacts facts = Healthy();
  facts.workers->front().mutable_last_seen_time()->set_seconds(kNow + 60);
  EXPECT_THAT(On(facts, "clock").what, HasSubstr("behind"));
}

TEST(Diagnosis, SaysThatJobsWaitWithoutAWorker) {
  DoctorFacts facts = Healthy();
  facts.workers->clear();
  EXPECT_EQ(On(facts, "workers").level, Level::kError);
  EXPECT_EQ(On(facts, "clock").level, Level::kNote);
}

TEST(Diagnosis, WorksWithoutAServer) {
  DoctorFacts facts = Healthy();
  facts.server.reset();
  facts.workers.reset();
  facts.reached = absl::UnavailableError("no server answers");
  EXPECT_EQ(On(facts, "server").level, Level::kError);
  EXPECT_EQ(On(facts, "gpu").level, Level::kNote);
  EXPECT_EQ(On(facts, "disk").level, Level::kOk);
}

TEST(Diagnosis, KnowsADriverThatIsTooOld) {
  DoctorFacts facts = Healthy();
  facts.gpu.library = true;
  facts.gpu.driver_version = "535.1";
  facts.gpu.cuda_version = 12020;
  EXPECT_THAT(On(facts, "driver").what, HasSubstr("serves CUDA 12.2"));
  EXPECT_THAT(On(facts, "driver").fix, HasSubstr("580"));
  facts.gpu.cuda_version = 13000;
  EXPECT_EQ(On(facts, "driver").level, Level::kOk);
}

TEST(Diagnosis, KnowsAWorkerHereThatDoesNotOfferTheGpu) {
  DoctorFacts facts = Healthy();
  facts.host_name = "here";
  facts.gpu.library = true;
  facts.gpu.cuda_version = 13000;
  facts.workers->front().set_host_name("here");
  EXPECT_EQ(On(facts, "gpu").level, Level::kOk) << "no GPU was seen";
  facts.gpu.gpus.push_back({"H200", std::int64_t{141} << 30, "9.0"});
  EXPECT_EQ(On(facts, "gpu").level, Level::kWarning);
  EXPECT_THAT(On(facts, "gpu").what, HasSubstr("ws-1 on this machine offers none"));
  facts.workers->front().set_host_name("elsewhere");
  EXPECT_EQ(On(facts, "gpu").level, Level::kOk);
  facts.workers->front().set_host_name("here");
  facts.workers->front().set_connected(false);
  EXPECT_EQ(On(facts, "gpu").level, Level::kOk) << "one that is away offers nothing anyway";
  facts.workers->front().set_connected(true);
  facts.workers->front().add_devices()->set_kind(v1::Device::CUDA);
  EXPECT_EQ(On(facts, "gpu").level, Level::kOk);
}

TEST(Doctor, LooksAtALiveServer) {
  const FakeServer server;
  const CliRun run = RunCli({"doctor", "--address", server.address()});
  EXPECT_EQ(run.code, kExitOk) << run.out;
  EXPECT_THAT(run.out, AllOf(HasSubstr("answers at " + server.address()), HasSubstr("ws-1 is connected")));
  const CliRun json = RunCli({"doctor", "--address", server.address(), "-o", "json"});
  EXPECT_TRUE(nlohmann::json::parse(json.out)["healthy"]);
}

TEST(Doctor, SaysWhatToDoWithoutOne) {
  std::string address;
  { address = FakeServer().address(); }
  const CliRun run = RunCli({"doctor", "--address", address});
  EXPECT_EQ(run.code, kExitUnavailable);
  EXPECT_THAT(run.out, AllOf(HasSubstr("fix: start one with `mantissa-server`"), HasSubstr("disk")));
}

}  // namespace
}  // namespace mantissa::cli
