// A conversation with a whole trainer.
#pragma once

#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/trainer/attempt_run.h"
#include "worker/trainer/trainer.h"

namespace mantissa::trainer {

// A trainer in a thread of its own, and its agent in this one.
class TrainerTest : public ::testing::Test {
 protected:
  TrainerTest() {
    options_.version = "1.2.3";
    options_.description.set_id("cpu-0");
    options_.description.set_kind(v1::Device::CPU);
    options_.description.set_cpu_threads(1);
  }

  ~TrainerTest() override {
    agent_.Close();
    if (thread_.joinable()) thread_.join();
  }

  v1::Hello Start(const FrameChannelOptions& channel = {}) {
    thread_ = std::thread([this, channel] {
      FrameChannel frames(std::move(ends_.first), channel);
      status_ = Trainer(frames, clock_, options_).Run();
      // The end of the process closes its descriptors.
    });
    const std::optional<v1::TrainerReport> hello = agent_.Await();
    EXPECT_TRUE(hello && hello->has_hello());
    return hello ? hello->hello() : v1::Hello();
  }

  // What Run returned.
  absl::Status Join() {
    thread_.join();
    return status_;
  }

  absl::Status ShutDown() {
    agent_.Send(ShutdownCommand());
    return Join();
  }

  v1::Bind GoodBind() const {
    v1::Bind bind;
    bind.set_tenant("default");
    for (const auto& [name, path, writable] :
         {std::tuple{"data", folder_.data(), false}, std::tuple{"checkpoints", folder_.checkpoints(), true}}) {
      v1::BoundRoot& root = *bind.add_roots();
      root.set_name(name);
      root.set_path(path.string());
      root.set_writable(writable);
      root.set_storage_id(std::string("storage-of-") + name);
    }
    return bind;
  }

  // The error, empty when bound.
  std::string Bind(const v1::Bind& bind) {
    v1::TrainerCommand command;
    *command.mutable_bind() = bind;
    agent_.Send(command);
    const std::optional<v1::TrainerReport> report = agent_.Await();
    EXPECT_TRUE(report && report->has_bound());
    if (!report) return "nothing was said";
    EXPECT_EQ(report->bound().sandbox_level(), report->bound().error().empty() ? expected_level_ : "none");
    return report->bound().error();
  }

  void StartBound(const FrameChannelOptions& channel = {}) {
    Start(channel);
    ASSERT_EQ(Bind(GoodBind()), "");
  }

  void SendRun(const v1::RunAttempt& run) {
    v1::TrainerCommand command;
    *command.mutable_run() = run;
    agent_.Send(command);
  }

  // Until it ended; `heard` may answer.
  template <class Heard>
  AttemptSeen Follow(Heard heard) {
    return mantissa::trainer::Follow(agent_, heard);
  }
  AttemptSeen Run(const v1::RunAttempt& run) {
    SendRun(run);
    return Follow([](const v1::TrainerReport&) {});
  }

  std::pair<process::FileDescriptor, process::FileDescriptor> ends_ = FramePair(4096);
  AgentEnd agent_{std::move(ends_.second)};
  const process::RealClock clock_;
  TrainerOptions options_;
  std::string expected_level_ = "none";  // of the sandbox, once bound
  RunFolder folder_;
  absl::Status status_;
  std::thread thread_;
};

}  // namespace mantissa::trainer
