// An agent as a test plays its server.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "google/protobuf/util/time_util.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"

#include "tests/unit/agent/fake_server_link.h"
#include "worker/agent/agent.h"
#include "worker/agent/forward/telemetry_segment.h"

namespace mantissa::agent {

// The whole agent with real trainers' processes and a server that a test plays.
class AgentTest : public testing::Test {
 protected:
  using Goal = v1::DesiredAttempt;
  using TimeUtil = google::protobuf::util::TimeUtil;
  using milliseconds = std::chrono::milliseconds;

  AgentTest() {
    std::filesystem::create_directories(folder_);
    roots_.emplace(*process::Roots::Open({{"checkpoints", folder_.string(), true}}));
    options_.worker_id = "ws-1";
    options_.session_id = "session";
    options_.trainers.program = FAKE_TRAINER;
    options_.drain_grace = milliseconds(20'000);
    v1::Root& root = options_.roots.emplace_back();
    root.set_name("checkpoints");
    root.set_storage_id("storage");
    root.set_writable(true);
  }
  ~AgentTest() override {
    agent_.reset();
    std::filesystem::remove_all(folder_);
  }

  void StartAgent() {
    agent_.emplace(options_, AgentWorld{launcher_, *roots_, link_, inbox_, clock_, metrics_, exports_});
    agent_->Start();
  }

  void Until(const char* what, const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "it never came about: " << what;
      ASSERT_TRUE(agent_->Turn(milliseconds(50)).ok());
      for (FakeServerLink::SyncCall& call : link_.TakeSyncs()) {
        EXPECT_GT(call.request.report_number(), newest_.request.report_number());
        newest_ = std::move(call);
      }
      for (FakeServerLink::CommitCall& call : link_.TakeCommits()) {
        commits_.push_back(call.request);
        call.done(commit_answer_);
      }
      if (serve_streams_) ServeStreams();
    }
  }

  // Answers the newest call with the present desired state.
  void Answer(bool news = true) {
    ASSERT_TRUE(newest_.done != nullptr);
    v1::SynchronizeResponse response = desired_;
    response.set_server_epoch(1);
    response.set_report_number(newest_.request.report_number());
    response.set_desired_revision(news ? ++revision_ : revision_);
    *response.mutable_next_call() = TimeUtil::SecondsToDuration(5);
    const std::int64_t number = newest_.request.report_number();
    std::exchange(newest_.done, nullptr)(response);
    Until("the next call", [&] { return newest_.request.report_number() > number; });
  }
  void Want(Goal::Goal goal, const std::string& steps = "", const v1::AttemptRef& ref = MakeRef()) {
    desired_.clear_attempts();
    v1::DesiredAttempt& attempt = *desired_.add_attempts();
    *attempt.mutable_ref() = ref;
    attempt.set_goal(goal);
    if (steps.empty()) return;
    v1::Assignment& assignment = *attempt.mutable_assignment();
    assignment.mutable_spec()->set_name(steps);
    assignment.mutable_placement()->add_device_ids("cpu-0");
    assignment.set_tenant("t");
    assignment.set_world_size(1);
    if (grace_.count() > 0) *assignment.mutable_disconnect_grace() = TimeUtil::MillisecondsToDuration(grace_.count());
  }
  void Begin(const std::string& steps) {
    StartAgent();
    Until("a device", [&] { return newest_.request.devices_size() == 1; });
    Want(Goal::RUN, steps);
    Answer();
  }
  const v1::AttemptReport* Report() const {
    return newest_.request.attempts_size() == 0 ? nullptr : &newest_.request.attempts(0);
  }
  bool ReportSays(v1::Attempt::State state) const { return Report() != nullptr && Report()->state() == state; }

  // What was written since the last look.
  template <class Side>
  auto Fresh(Side& side) {
    process::MutexLock lock(side.mutex);
    return std::exchange(side.written, {});
  }

  // A server that stores what it is sent.
  void ServeStreams() {
    for (const std::shared_ptr<TelemetrySide>& side : link_.Telemetry()) {
      for (const v1::PublishTelemetryRequest& request : Fresh(*side)) {
        const v1::AttemptRef& ref = request.has_attempt() ? request.attempt() : request.open();
        for (const v1::Segment& segment : request.segments()) {
          EXPECT_LE(segment.first_attempt_sequence(), stored_ + 1) << "a hole";
          stored_ = std::max(stored_, LastAttemptSequence(segment));
        }
        v1::PublishTelemetryResponse response;
        response.set_job_id(ref.job_id());
        response.set_attempt(ref.attempt());
        response.set_durable_through(stored_);
        side->events.received(response);
      }
    }
    for (const std::shared_ptr<LogsSide>& side : link_.Logs()) {
      for (const v1::PublishLogsRequest& request : Fresh(*side)) {
        const v1::AttemptRef& ref = request.has_attempt() ? request.attempt() : request.open();
        std::string& log = logs_[request.stream()];
        if (request.has_attempt()) {
          EXPECT_EQ(request.offset(), static_cast<std::int64_t>(log.size()));
          log += request.data();
        }
        v1::PublishLogsResponse response;
        response.set_job_id(ref.job_id());
        response.set_attempt(ref.attempt());
        response.set_stream(request.stream());
        response.set_durable_through(static_cast<std::int64_t>(log.size()));
        side->events.received(response);
      }
    }
  }
  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) / ("agent-" + std::to_string(::getpid()));
  Launcher launcher_ = *Launcher::Fork();
  std::optional<process::Roots> roots_;
  FakeServerLink link_;
  Inbox inbox_;
  process::RealClock clock_;
  prometheus::Registry registry_;
  WorkerMetrics metrics_{registry_};
  ExportHub exports_{clock_, metrics_};
  AgentOptions options_;
  milliseconds grace_{0};

  FakeServerLink::SyncCall newest_;
  std::vector<v1::CommitCheckpointRequest> commits_;
  absl::StatusOr<v1::CommitCheckpointResponse> commit_answer_ = v1::CommitCheckpointResponse();
  v1::SynchronizeResponse desired_;
  std::int64_t revision_ = 0;
  bool serve_streams_ = true;
  std::int64_t stored_ = 0;
  std::map<v1::LogStream::Name, std::string> logs_;

  std::optional<Agent> agent_;  // last: it leans on all of the above
};

}  // namespace mantissa::agent
