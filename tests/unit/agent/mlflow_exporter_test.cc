// An MLflow that misbehaves. That a real one shows what was logged: tests/integration/test_mlflow.py.
#include "worker/agent/exporters/mlflow_exporter.h"

#include <cmath>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <nlohmann/json.hpp>

#include "process/fake_clock.h"
#include "tests/unit/agent/export_segments.h"
#include "tests/unit/agent/scripted_http_server.h"

namespace mantissa::agent {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

constexpr char kExperiment[] = R"({"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}})";
constexpr char kRun[] = R"({"run": {"info": {"run_id": "r1"}}})";
constexpr char kNoExperiment[] = R"({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"})";

class MlflowExporterTest : public testing::Test {
 protected:
  MlflowExporter& exporter() {
    if (!exporter_) {
      options_.uri = server_.uri();
      exporter_.emplace(options_, clock_);
    }
    return *exporter_;
  }
  absl::Status Begin() {
    ExportedAttempt attempt;
    attempt.key = key_;
    attempt.name = "digits";
    attempt.parameters = {{"model", "mlp"}};
    return exporter().Begin(attempt);
  }
  void BeginWell() {
    server_.Then(ScriptedHttpServer::Says(200, kExperiment));
    server_.Then(ScriptedHttpServer::Says(200, kRun));
    server_.Then(ScriptedHttpServer::Says(200, "{}"));
    ASSERT_TRUE(Begin().ok());
  }
  absl::Status Add(int first, int last) { return exporter().Add(key_, PointsOf(ExportRecords(first, last))); }
  json BodyOf(std::size_t request) { return json::parse(server_.requests().at(request).body); }

  const AttemptKey key_ = {"01job", 2};
  process::FakeClock clock_;
  MlflowOptions options_;
  ScriptedHttpServer server_;
  std::optional<MlflowExporter> exporter_;
};

TEST_F(MlflowExporterTest, ARunIsTheAttempt) {
  options_.http.bearer_token = "secret-token";
  BeginWell();
  ASSERT_TRUE(Add(1, 3).ok());
  ASSERT_TRUE(exporter().End(key_, v1::Attempt::SUCCEEDED).ok());
  const auto requests = server_.requests();
  ASSERT_THAT(requests, SizeIs(5));
  EXPECT_THAT(requests[0].line, StartsWith("GET /api/2.0/mlflow/experiments/get-by-name?experiment_name=mantissa "));
  EXPECT_THAT(requests[1].line, StartsWith("POST /api/2.0/mlflow/runs/create "));
  EXPECT_THAT(requests[1].headers, HasSubstr("Authorization: Bearer secret-token\r\n"));
  EXPECT_EQ(BodyOf(1)["experiment_id"], "7");
  EXPECT_EQ(BodyOf(1)["run_name"], "digits");
  EXPECT_EQ(BodyOf(1)["tags"], json::parse(R"([{"key": "mantissa.job_id", "value": "01job"},
                                               {"key": "mantissa.attempt", "value": "2"}])"));
  EXPECT_EQ(BodyOf(2)["params"], json::parse(R"([{"key": "model", "value": "mlp"}])"));
  const json metrics = BodyOf(3)["metrics"];
  ASSERT_EQ(metrics.size(), 8u) << "two of a skipped iteration, three of each other";
  EXPECT_EQ(metrics[0], json::parse(R"({"key": "train/loss", "value": 1.0, "timestamp": 1, "step": 1})"));
  EXPECT_EQ(BodyOf(4)["status"], "FINISHED");
  EXPECT_EQ(BodyOf(4)["end_time"], 1767225600000);
}

TEST_F(MlflowExporterTest, NoCallLogsMoreThanAThousandMetrics) {
  BeginWell();
  ASSERT_TRUE(Add(1, 256).ok());
  std::size_t logged = 0;
  for (std::size_t i = 3; i < server_.requests().size(); ++i) {
    EXPECT_LE(BodyOf(i)["metrics"].size(), 1000u);
    logged += BodyOf(i)["metrics"].size();
  }
  EXPECT_EQ(logged, 256u * 2 + (256u - 85u)) << "loss and overflow of each, grad norms of those that were applied";
}

TEST_F(MlflowExporterTest, ValuesThatAreNoNumbersGoAsText) {
  BeginWell();
  ExportPoint point;
  const double inf = std::numeric_limits<double>::infinity();
  point.scalars = {{"a", std::nan("")}, {"b", inf}, {"c", -inf}};
  ASSERT_TRUE(exporter().Add(key_, {point}).ok());
  EXPECT_EQ(BodyOf(3)["metrics"][0]["value"], "NaN");
  EXPECT_EQ(BodyOf(3)["metrics"][1]["value"], "Infinity");
  EXPECT_EQ(BodyOf(3)["metrics"][2]["value"], "-Infinity");
}

TEST_F(MlflowExporterTest, AnExperimentIsMadeWhereThereIsNone) {
  server_.Then(ScriptedHttpServer::Says(404, kNoExperiment));
  server_.Then(ScriptedHttpServer::Says(200, R"({"experiment_id": "9"})"));
  server_.Then(ScriptedHttpServer::Says(200, kRun));
  server_.Then(ScriptedHttpServer::Says(200, "{}"));
  ASSERT_TRUE(Begin().ok());
  EXPECT_EQ(BodyOf(1)["name"], "mantissa");
  EXPECT_EQ(BodyOf(2)["experiment_id"], "9");
}

TEST_F(MlflowExporterTest, AnExperimentThatAnotherWorkerMadeFirstIsFoundTheNextTime) {
  server_.Then(ScriptedHttpServer::Says(404, kNoExperiment));
  server_.Then(ScriptedHttpServer::Says(400, R"({"message": "Experiment 'mantissa' already exists."})"));
  server_.Then(ScriptedHttpServer::Says(200, kExperiment));
  server_.Then(ScriptedHttpServer::Says(200, kRun));
  server_.Then(ScriptedHttpServer::Says(200, "{}"));
  EXPECT_TRUE(absl::IsUnavailable(Begin()));
  EXPECT_TRUE(Begin().ok());
}

TEST_F(MlflowExporterTest, ADeletedExperimentIsSaid) {
  server_.Then(
      ScriptedHttpServer::Says(200, R"({"experiment": {"experiment_id": "7", "lifecycle_stage": "deleted"}})"));
  const absl::Status begun = Begin();
  EXPECT_TRUE(absl::IsFailedPrecondition(begun));
  EXPECT_THAT(std::string(begun.message()), HasSubstr("--mlflow-experiment: 'mantissa' is deleted"));
}

TEST_F(MlflowExporterTest, ARunThatMayHaveBeenMadeIsLookedForBeforeAnotherIsMade) {
  server_.Then(ScriptedHttpServer::Says(200, kExperiment));
  server_.Then([](int, const auto&) {});  // takes the request, makes the run, and dies
  server_.Then(ScriptedHttpServer::Says(200, R"({"runs": [{"info": {"run_id": "r0"}}]})"));
  server_.Then(ScriptedHttpServer::Says(200, "{}"));
  EXPECT_TRUE(absl::IsUnavailable(Begin()));
  ASSERT_TRUE(Begin().ok());
  const auto requests = server_.requests();
  ASSERT_THAT(requests, SizeIs(4));
  EXPECT_THAT(requests[2].line, HasSubstr("runs/search"));
  EXPECT_EQ(BodyOf(2)["filter"], "tags.`mantissa.job_id` = '01job' and tags.`mantissa.attempt` = '2'");
  EXPECT_EQ(BodyOf(3)["run_id"], "r0");
}

TEST_F(MlflowExporterTest, AttemptsEndAsTheyDid) {
  for (const auto& [state, status] : {std::pair{v1::Attempt::SUCCEEDED, "FINISHED"},
                                      {v1::Attempt::FAILED, "FAILED"},
                                      {v1::Attempt::CANCELLED, "KILLED"},
                                      {v1::Attempt::STOPPED, "KILLED"},
                                      {v1::Attempt::LOST, "KILLED"}}) {
    server_.Then(ScriptedHttpServer::Says(200, "{}"));
    ASSERT_TRUE(exporter().End(key_, state).ok());
    EXPECT_EQ(json::parse(server_.requests().back().body)["status"], status);
  }
}

TEST_F(MlflowExporterTest, WhatMayPassIsUnavailable) {
  for (const int code : {408, 429, 500, 502, 503}) {
    ScriptedHttpServer server;
    server.Then(ScriptedHttpServer::Says(code, "<html>oops"));
    MlflowExporter exporter({.uri = server.uri()}, clock_);
    const absl::Status failed = exporter.End(key_, v1::Attempt::FAILED);
    EXPECT_TRUE(absl::IsUnavailable(failed)) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr(absl::StrCat("runs/update with ", code)));
  }
}

TEST_F(MlflowExporterTest, RefusalsSayWhatToDo) {
  for (const auto& [code, remedy] : {std::pair{400, "bad run"},
                                     {401, "MLFLOW_TRACKING_TOKEN"},
                                     {403, "MLFLOW_TRACKING_TOKEN"},
                                     {404, "is --mlflow-uri right?"}}) {
    ScriptedHttpServer server;
    server.Then(ScriptedHttpServer::Says(code, R"({"message": "bad run"})"));
    MlflowExporter exporter({.uri = server.uri(), .http = {.bearer_token = "secret-token"}}, clock_);
    const absl::Status failed = exporter.End(key_, v1::Attempt::FAILED);
    EXPECT_FALSE(absl::IsUnavailable(failed)) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr(remedy));
    EXPECT_THAT(std::string(failed.message()), Not(HasSubstr("secret-token")));
  }
}

TEST_F(MlflowExporterTest, NoRedirectionIsFollowed) {
  for (const std::string to : {"file:///etc/passwd", "http://127.0.0.1:1/"}) {
    ScriptedHttpServer server;
    server.Then(ScriptedHttpServer::Says(302, "", absl::StrCat("Location: ", to, "\r\n")));
    MlflowExporter exporter({.uri = server.uri()}, clock_);
    const absl::Status failed = exporter.End(key_, v1::Attempt::FAILED);
    EXPECT_TRUE(absl::IsFailedPrecondition(failed)) << failed;
    EXPECT_THAT(std::string(failed.message()), HasSubstr("redirections are not followed"));
    EXPECT_THAT(server.requests(), SizeIs(1));
  }
}

TEST_F(MlflowExporterTest, AnAnswerThatNeverEndsIsCutOff) {
  options_.http.max_answer_bytes = 100'000;
  std::size_t sent = 0;
  server_.Then([&sent](int connection, const auto&) {
    ScriptedHttpServer::Write(connection, "HTTP/1.1 200 OK\r\n\r\n");
    const std::string some(1 << 16, 'x');
    while (ScriptedHttpServer::Write(connection, some)) sent += some.size();
  });
  const absl::Status begun = Begin();
  EXPECT_TRUE(absl::IsUnavailable(begun));
  EXPECT_THAT(std::string(begun.message()), HasSubstr("its answer is too long"));
}

TEST_F(MlflowExporterTest, AnAnswerThatEndsInTheMiddleOrIsNoJsonIsNone) {
  server_.Then([](int connection, const auto&) {
    ScriptedHttpServer::Write(connection, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"experi");
  });
  server_.Then(ScriptedHttpServer::Says(200, "[1, 2"));
  server_.Then(ScriptedHttpServer::Says(200, R"({"experiment": 3})"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(absl::IsUnavailable(Begin())) << i;
}

TEST_F(MlflowExporterTest, AServerThatSaysNothingIsNotWaitedForLongerThanTheTimeout) {
  options_.http.timeout = milliseconds(50);
  server_.Then([](int connection, const auto&) {
    char byte;
    while (::recv(connection, &byte, 1, 0) > 0) {  // until the client has had enough
    }
  });
  EXPECT_TRUE(absl::IsUnavailable(Begin()));
}

TEST_F(MlflowExporterTest, AbortEndsACallThatIsUnderWay) {
  options_.http.timeout = milliseconds(3'600'000);
  server_.Then([this](int connection, const auto&) {
    exporter_->Abort();
    char byte;
    while (::recv(connection, &byte, 1, 0) > 0) {
    }
  });
  EXPECT_TRUE(absl::IsUnavailable(Begin()));
  EXPECT_TRUE(absl::IsUnavailable(Begin())) << "and every later one";
  EXPECT_THAT(server_.requests(), SizeIs(1));
}

TEST_F(MlflowExporterTest, NobodyThereIsUnavailable) {
  std::string gone;
  {
    ScriptedHttpServer server;
    gone = server.uri();
  }
  MlflowExporter exporter({.uri = gone}, clock_);
  EXPECT_TRUE(absl::IsUnavailable(exporter.End(key_, v1::Attempt::FAILED)));
}

}  // namespace
}  // namespace mantissa::agent
