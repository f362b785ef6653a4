// mantissa advise: what it submits, how it waits, and what it leaves behind when it is interrupted.
#include <csignal>
#include <fstream>
#include <future>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#include "absl/strings/str_cat.h"
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/fake_service.h"
#include "tests/unit/cli/run_cli.h"
#include "tests/unit/cli/sample_reports.h"

namespace mantissa::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class AdviseCommandTest : public ::testing::Test {
 protected:
  AdviseCommandTest() : file_(absl::StrCat(::testing::TempDir(), "/advised_", ::getpid(), ".yaml")) {
    Write(
        "training: { model: { mlp: { hidden: [64] } }, data: { train: { synthetic: {} } }, precision: { mode: FP16 } "
        "}");
  }
  ~AdviseCommandTest() override { ::unlink(file_.c_str()); }

  void Write(const std::string& text) { std::ofstream(file_) << text; }

  std::vector<std::string> Arguments(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"advise", file_, "--address", server_.address()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  // Runs it, and does something once it waits for its jobs.
  template <typename Act>
  CliRun RunAnd(const std::vector<std::string>& more, const Act& act, const CliWorld& world = {}) {
    std::future<CliRun> run =
        std::async(std::launch::async, [this, more, world] { return RunCli(Arguments(more), world); });
    while (server_.jobs().listed().empty()) std::this_thread::yield();
    act();
    return run.get();
  }

  void EndAll(v1::Job::State state) {
    v1::ListJobsRequest request;
    request.set_page_size(100);
    v1::ListJobsResponse response;
    server_.jobs().ListJobs(nullptr, &request, &response);
    for (v1::Job& job : *response.mutable_jobs()) {
      job.set_state(state);
      job.set_state_message("no worker could run it");
      server_.jobs().SetJob(job);
    }
  }

  FakeServer server_;
  const std::string file_;
};

TEST_F(AdviseCommandTest, StudiesAreSubmittedAwaitedAndAnswered) {
  server_.jobs().SetReport(ComparisonReport());
  const CliRun run = RunAnd({"--iterations", "20", "--seeds", "2"}, [&] { EndAll(v1::Job::SUCCEEDED); });
  EXPECT_EQ(run.code, kExitOk) << run.err;
  ASSERT_THAT(server_.jobs().submitted(), SizeIs(6));
  const v1::JobSpec spec = server_.jobs().submitted()[0].spec();
  EXPECT_EQ(spec.study().precision_comparison().seeds(), 2);
  EXPECT_EQ(spec.study().precision_comparison().training().iterations(), 20);
  const v1::ListJobsRequest asked = server_.jobs().listed()[0];
  EXPECT_EQ(asked.filter().labels().at("advice"), spec.labels().at("advice"));
  EXPECT_THAT(run.out, HasSubstr("3  Profile memory and compute; throughput counts: "));
  EXPECT_THAT(run.err, HasSubstr("precision_comparison  QUEUED"));
  EXPECT_THAT(run.err, HasSubstr("precision_comparison  SUCCEEDED"));
  EXPECT_THAT(server_.jobs().cancelled(), IsEmpty());
}

TEST_F(AdviseCommandTest, AStudyThatIsRefusedDoesNotEndTheOthers) {
  server_.jobs().FailNext("SubmitJob", ErrorWith(grpc::StatusCode::INVALID_ARGUMENT, "not here", "BAD"));
  const CliRun run = RunAnd({"-o", "json"}, [&] { EndAll(v1::Job::SUCCEEDED); });
  EXPECT_EQ(run.code, kExitOk) << run.err;
  const auto document = nlohmann::json::parse(run.out);
  EXPECT_EQ(document["studies"][0]["job_id"], "");
  EXPECT_THAT(document["studies"][0]["failure"].get<std::string>(), HasSubstr("not here"));
  EXPECT_EQ(document["studies"].size(), 6u);
  EXPECT_EQ(document["rules"][2]["answer"], "UNKNOWN");
}

TEST_F(AdviseCommandTest, WhereEveryStudyFailsTheExitCodeSaysSo) {
  const CliRun run = RunAnd({}, [&] { EndAll(v1::Job::FAILED); });
  EXPECT_EQ(run.code, kExitJobFailed);
  EXPECT_THAT(run.out, HasSubstr("no worker could run it"));
  EXPECT_THAT(server_.jobs().reports_asked_for(), IsEmpty());
}

TEST_F(AdviseCommandTest, CtrlCCancelsWhatItSubmitted) {
  const CliRun run = RunAnd({}, [] { ::kill(::getpid(), SIGINT); }, {.terminal = true});
  EXPECT_EQ(run.code, kExitInterrupted);
  EXPECT_THAT(server_.jobs().cancelled(), SizeIs(6));
  EXPECT_EQ(run.out, "");
}

TEST_F(AdviseCommandTest, AServerThatIsGoneForAMomentIsAskedAgainAndOneThatRefusesIsNot) {
  server_.jobs().FailNext("ListJobs", grpc::Status(grpc::StatusCode::UNAVAILABLE, "restarting"));
  EXPECT_EQ(RunAnd({}, [&] { EndAll(v1::Job::SUCCEEDED); }).code, kExitOk);
  FakeServer other;
  other.jobs().FailNext("ListJobs", ErrorWith(grpc::StatusCode::PERMISSION_DENIED, "not yours", "DENIED"));
  const CliRun refused = RunCli({"advise", file_, "--address", other.address()});
  EXPECT_NE(refused.code, kExitOk);
  EXPECT_THAT(refused.err, HasSubstr("not yours"));
  EXPECT_THAT(other.jobs().cancelled(), SizeIs(6));
}

TEST_F(AdviseCommandTest, WhatItCannotSubmitLeavesNothingBehind) {
  server_.jobs().FailNext("SubmitJob", grpc::Status::OK);
  server_.jobs().FailNext("SubmitJob", ErrorWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full", "FULL"));
  const CliRun run = RunCli(Arguments({}));
  EXPECT_NE(run.code, kExitOk);
  EXPECT_THAT(run.err, HasSubstr("the queue is full"));
  EXPECT_THAT(server_.jobs().cancelled(), SizeIs(1));
}

TEST_F(AdviseCommandTest, ASpecThatIsNoTrainingOrNotGoodIsRefusedHere) {
  Write("study: { format_table: {} }");
  const CliRun study = RunCli(Arguments({}));
  EXPECT_EQ(study.code, kExitUsage);
  EXPECT_THAT(study.err, HasSubstr("advice is given of a training"));
  Write("training: { batch_size: -1 }");
  const CliRun bad = RunCli(Arguments({}));
  EXPECT_EQ(bad.code, kExitUsage);
  EXPECT_THAT(bad.err, HasSubstr("training.model"));
  EXPECT_THAT(bad.err, HasSubstr("training.batch_size"));
  EXPECT_THAT(server_.jobs().submitted(), IsEmpty());
}

TEST_F(AdviseCommandTest, ExplainSaysItsRules) {
  const CliRun run = RunCli({"explain", "advise"});
  EXPECT_EQ(run.code, kExitOk);
  for (int rule = 1; rule <= 6; ++rule) EXPECT_THAT(run.out, HasSubstr(absl::StrCat("\n", rule, ". ")));
}

}  // namespace
}  // namespace mantissa::cli
