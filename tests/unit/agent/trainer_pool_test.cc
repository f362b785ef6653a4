#include "worker/agent/trainers/trainer_pool.h"

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <poll.h>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "worker/agent/forward/telemetry_segment.h"

namespace mantissa::agent {
namespace {

using process::SteadyTime;
using std::chrono::milliseconds;
using testing::HasSubstr;

// The pool with a real launcher and real processes; only its clock is a test's own.
class TrainerPoolTest : public testing::Test {
 protected:
  void StartPool(const std::function<void(TrainerPoolOptions&)>& change = [](auto&) {}) {
    TrainerPoolOptions options;
    options.program = FAKE_TRAINER;
    options.threads = 3;
    change(options);
    pool_.emplace(std::move(options), launcher_);
    pool_->Start(now_);
  }

  // Turns until the condition holds.
  void Until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "it never came about";
      std::vector<pollfd> fds = {{launcher_.fd(), POLLIN, 0}};
      pool_->AppendPollFds(fds);
      ::poll(fds.data(), fds.size(), 50);
      while (true) {
        absl::StatusOr<std::optional<LauncherEvent>> event = launcher_.Next();
        ASSERT_TRUE(event.ok());
        if (!event->has_value()) break;
        pool_->OnLauncherEvent(std::move(**event), now_);
      }
      for (const pollfd& ready : fds) {
        if (ready.revents != 0) pool_->OnReady(ready, now_);
      }
      pool_->Tick(now_);
      for (TrainerEvent& event : pool_->TakeEvents()) events_.push_back(std::move(event));
    }
  }

  RunOrder Order(const std::string& steps, const std::string& job_id = "job-1", const std::string& tenant = "t") {
    RunOrder order;
    order.key = {job_id, 1};
    order.device_id = "cpu-0";
    order.tenant = tenant;
    order.command.set_job_id(job_id);
    order.command.set_attempt(1);
    order.command.mutable_spec()->set_name(steps);
    return order;
  }

  // Runs it until it is over.
  void RunToEnd(const std::string& steps, const std::string& job_id = "job-1", const std::string& tenant = "t") {
    ASSERT_TRUE(pool_->Run(Order(steps, job_id, tenant), now_).ok());
    Until([&] { return Ended(job_id) != nullptr || Lost(job_id) != nullptr; });
  }

  const v1::AttemptEnded* Ended(const std::string& job_id = "job-1") const {
    for (const TrainerEvent& event : events_) {
      const auto* reported = std::get_if<AttemptReported>(&event);
      if (reported != nullptr && reported->key.job_id == job_id && reported->report.has_ended()) {
        return &reported->report.ended();
      }
    }
    return nullptr;
  }
  const AttemptLost* Lost(const std::string& job_id = "job-1") const {
    for (const TrainerEvent& event : events_) {
      const auto* lost = std::get_if<AttemptLost>(&event);
      if (lost != nullptr && lost->key.job_id == job_id) return lost;
    }
    return nullptr;
  }
  std::int64_t LastSequence() const {
    std::int64_t last = 0;
    for (const TrainerEvent& event : events_) {
      const auto* reported = std::get_if<AttemptReported>(&event);
      if (reported == nullptr) continue;
      for (const v1::Segment& segment : reported->report.telemetry().segments()) {
        EXPECT_EQ(segment.first_attempt_sequence(), last + 1);
        last = LastAttemptSequence(segment);
      }
    }
    return last;
  }
  std::string Output(v1::LogStream::Name stream) const {
    std::string text;
    for (const TrainerEvent& event : events_) {
      const auto* output = std::get_if<AttemptOutput>(&event);
      if (output != nullptr && output->stream == stream) text += output->bytes;
    }
    return text;
  }

  Launcher launcher_ = *Launcher::Fork();
  std::optional<TrainerPool> pool_;
  std::vector<TrainerEvent> events_;
  SteadyTime now_{std::chrono::hours(1)};
};

TEST_F(TrainerPoolTest, KeepsAWarmTrainerPerDeviceAndSaysWhatTheyAre) {
  StartPool([](auto& options) { options.cpu_slots = 2; });
  EXPECT_TRUE(pool_->devices().empty()) << "not before Hello";
  Until([&] { return pool_->devices().size() == 2; });
  EXPECT_EQ(pool_->devices()[0].id(), "cpu-0");
  EXPECT_EQ(pool_->devices()[1].id(), "cpu-1");
  EXPECT_EQ(pool_->devices()[0].model(), "fake CPU");
  EXPECT_EQ(pool_->devices()[0].cpu_threads(), 3);
  EXPECT_THAT(pool_->features(), testing::ElementsAre("model.gpt", "model.mlp"));
  EXPECT_TRUE(std::holds_alternative<DevicesChanged>(events_.front()));
}

TEST_F(TrainerPoolTest, FindsEveryCudaDeviceAndOffersOnlyFeaturesThatAllHave) {
  StartPool([](auto& options) {
    options.probe_cuda = true;
    options.environment = {"FAKE_CUDA_DEVICES=2"};
  });
  Until([&] { return pool_->devices().size() == 3 && pool_->counts().started >= 4; });
  EXPECT_EQ(pool_->devices()[2].id(), "cuda-1");
  EXPECT_EQ(pool_->devices()[2].model(), "fake GPU");
  EXPECT_THAT(pool_->features(), testing::ElementsAre("model.mlp"));
  RunOrder order = Order("started,records=2");
  order.device_id = "cuda-1";
  ASSERT_TRUE(pool_->Run(std::move(order), now_).ok());
  Until([&] { return Ended() != nullptr; });
  now_ += std::chrono::hours(1);
  Until([&] { return true; });
  EXPECT_EQ(pool_->counts().started, 4) << "the probe that found nothing is not repeated";
}

TEST_F(TrainerPoolTest, WithoutACudaDeviceThereIsOnlyTheCpu) {
  StartPool([](auto& options) { options.probe_cuda = true; });
  RunToEnd("started");
  EXPECT_EQ(pool_->devices().size(), 1u);
}

TEST_F(TrainerPoolTest, RunsAnAttemptAndGivesTheTrainerTheNextOne) {
  StartPool();
  RunToEnd("started,records=300,event,out=hello,err=world");
  ASSERT_NE(Ended(), nullptr);
  EXPECT_EQ(Ended()->state(), v1::Attempt::SUCCEEDED);
  EXPECT_EQ(LastSequence(), 301);
  EXPECT_EQ(Output(v1::LogStream::STDOUT), "hello\n");
  EXPECT_EQ(Output(v1::LogStream::STDERR), "world\n");
  RunToEnd("started", "job-2");
  EXPECT_EQ(pool_->counts().started, 1);
}

TEST_F(TrainerPoolTest, AnAttemptMayComeBeforeItsTrainerIsReady) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started"), now_).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(pool_->Run(Order("started", "job-2"), now_)));
  Until([&] { return Ended() != nullptr; });
}

TEST_F(TrainerPoolTest, ADeviceTakesOneAttemptAndAnUnknownOneNone) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started,wait"), now_).ok());
  Until([&] { return !events_.empty() && std::holds_alternative<AttemptReported>(events_.back()); });
  EXPECT_TRUE(absl::IsFailedPrecondition(pool_->Run(Order("started", "job-2"), now_)));
  RunOrder elsewhere = Order("started", "job-2");
  elsewhere.device_id = "cuda-7";
  EXPECT_TRUE(absl::IsNotFound(pool_->Run(std::move(elsewhere), now_)));
}

TEST_F(TrainerPoolTest, ATrainerThatFailedIsReplacedAtOnce) {
  StartPool();
  RunToEnd("started,fail");
  EXPECT_EQ(Ended()->reason(), v1::Reason::NUMERIC_FAILURE);
  EXPECT_EQ(pool_->counts().replaced, 1);
  RunToEnd("started", "job-2");
  EXPECT_EQ(Ended("job-2")->state(), v1::Attempt::SUCCEEDED);
}

TEST_F(TrainerPoolTest, ATrainerThatWasStoppedIsReplacedAtOnce) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started,wait"), now_).ok());
  Until([&] { return events_.size() >= 2; });
  pool_->Stop({"job-1", 1}, {.checkpoint = false, .grace = milliseconds(1'000)}, now_);
  Until([&] { return Ended() != nullptr; });
  EXPECT_EQ(Ended()->state(), v1::Attempt::CANCELLED);
  EXPECT_EQ(pool_->counts().replaced, 1);
}

TEST_F(TrainerPoolTest, ATrainerServesOneTenant) {
  StartPool();
  RunToEnd("started", "job-1", "alice");
  RunToEnd("started", "job-2", "alice");
  EXPECT_EQ(pool_->counts().started, 1);
  RunToEnd("started", "job-3", "bob");
  EXPECT_EQ(pool_->counts().started, 2);
}

TEST_F(TrainerPoolTest, ATrainerIsWornOutAfterSoManyAttempts) {
  StartPool([](auto& options) { options.max_attempts_cpu = 2; });
  RunToEnd("started", "job-1");
  EXPECT_EQ(pool_->counts().started, 1);
  RunToEnd("started", "job-2");
  EXPECT_EQ(pool_->counts().started, 2);
}

TEST_F(TrainerPoolTest, WhatATrainerSaidBeforeItCrashedIsDeliveredFirst) {
  StartPool();
  RunToEnd("started,records=2000,err=last words,crash");
  ASSERT_NE(Lost(), nullptr);
  EXPECT_EQ(LastSequence(), 2'000);
  EXPECT_EQ(Lost()->reason.code, v1::Reason::CRASHED);
  EXPECT_THAT(Lost()->reason.message, HasSubstr("about to crash"));
  EXPECT_FALSE(Lost()->as_asked);
  EXPECT_TRUE(std::holds_alternative<AttemptLost>(events_.back())) << "nothing comes after it";
  EXPECT_THAT(Output(v1::LogStream::STDERR), HasSubstr("last words"));
  RunToEnd("started", "job-2");
  EXPECT_NE(Ended("job-2"), nullptr);
}

TEST_F(TrainerPoolTest, TellsAKillFromAnExitAndFromACutFrame) {
  StartPool();
  RunToEnd("started,records=3,kill", "job-1");
  EXPECT_EQ(Lost("job-1")->reason.code, v1::Reason::KILLED);
  RunToEnd("started,exit=3", "job-2");
  EXPECT_THAT(Lost("job-2")->reason.message, HasSubstr("code 3"));
  RunToEnd("started,cut", "job-3");
  EXPECT_NE(Lost("job-3"), nullptr);
  EXPECT_FALSE(Lost("job-3")->as_asked);
  RunToEnd("started,records=3,killed-inside", "job-4");
  EXPECT_EQ(Lost("job-4")->reason.code, v1::Reason::KILLED) << "why it ended, not where its words did";
}

TEST_F(TrainerPoolTest, ATrainerThatSpeaksNonsenseIsKilled) {
  StartPool();
  RunToEnd("started,garbage", "job-1");
  EXPECT_EQ(Lost("job-1")->reason.code, v1::Reason::TRAINER_LOST);
  RunToEnd("started,huge", "job-2");
  EXPECT_EQ(Lost("job-2")->reason.code, v1::Reason::TRAINER_LOST);
}

TEST_F(TrainerPoolTest, ATrainerThatDoesNotStopIsKilledWhenItsGraceIsOver) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started,deaf"), now_).ok());
  Until([&] { return events_.size() >= 2; });
  pool_->Stop({"job-1", 1}, {.checkpoint = false, .grace = milliseconds(1'000)}, now_);
  EXPECT_EQ(pool_->NextDeadline(), now_ + milliseconds(1'000));
  now_ += milliseconds(999);
  pool_->Tick(now_);
  EXPECT_EQ(Lost(), nullptr);
  now_ += milliseconds(1);
  Until([&] { return Lost() != nullptr; });
  EXPECT_TRUE(Lost()->as_asked);
  RunToEnd("started", "job-2");
}

TEST_F(TrainerPoolTest, ALaterStopNeverPutsTheKillOff) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started,deaf"), now_).ok());
  Until([&] { return events_.size() >= 2; });
  pool_->Stop({"job-1", 1}, {.checkpoint = true, .grace = milliseconds(30'000)}, now_);
  pool_->Stop({"job-1", 1}, {.checkpoint = false, .grace = milliseconds(1'000)}, now_);
  pool_->Stop({"job-1", 1}, {.checkpoint = true, .grace = milliseconds(30'000)}, now_);
  EXPECT_EQ(pool_->NextDeadline(), now_ + milliseconds(1'000));
}

TEST_F(TrainerPoolTest, ATrainerThatStoppedInTimeAndStaysIsKilledWhenItWasToHaveStopped) {
  StartPool([](auto& options) {
    options.environment = {"FAKE_TRAINER_LINGERS=1"};
    options.shutdown_grace = milliseconds(5'000);
  });
  ASSERT_TRUE(pool_->Run(Order("started,wait"), now_).ok());
  Until([&] { return events_.size() >= 2; });
  pool_->Stop({"job-1", 1}, {.checkpoint = false, .grace = milliseconds(1'000)}, now_);
  Until([&] { return Ended() != nullptr; });
  EXPECT_EQ(pool_->NextDeadline(), now_ + milliseconds(1'000));
}

TEST_F(TrainerPoolTest, AnAttemptThatHasNotBegunIsStoppedOnTheSpot) {
  StartPool([](auto& options) { options.environment = {"FAKE_TRAINER_MUTE=1"}; });
  ASSERT_TRUE(pool_->Run(Order("started"), now_).ok());
  pool_->Stop({"job-1", 1}, {.checkpoint = true, .grace = milliseconds(30'000)}, now_);
  Until([&] { return Lost() != nullptr; });
  EXPECT_TRUE(Lost()->as_asked);
}

TEST_F(TrainerPoolTest, AKilledAttemptLeavesTheDeviceFreeAtOnce) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started,deaf"), now_).ok());
  Until([&] { return events_.size() >= 2; });
  pool_->Kill({"job-1", 1}, now_);
  EXPECT_TRUE(pool_->Run(Order("started", "job-2"), now_).ok());
  Until([&] { return Ended("job-2") != nullptr && Lost("job-1") != nullptr; });
}

TEST_F(TrainerPoolTest, SilenceAboutAnAttemptEndsItAtItsStartTimeout) {
  StartPool();
  Until([&] { return pool_->devices().size() == 1; });
  RunOrder order = Order("deaf");
  order.start_timeout = milliseconds(5'000);
  ASSERT_TRUE(pool_->Run(std::move(order), now_).ok());
  now_ += milliseconds(5'000);
  Until([&] { return Lost() != nullptr; });
  EXPECT_EQ(Lost()->reason.code, v1::Reason::START_TIMEOUT);
  EXPECT_FALSE(Lost()->as_asked);
}

TEST_F(TrainerPoolTest, AWordAboutTheAttemptEndsTheStartTimeout) {
  StartPool();
  RunOrder order = Order("started,wait");
  order.start_timeout = milliseconds(5'000);
  ASSERT_TRUE(pool_->Run(std::move(order), now_).ok());
  Until([&] { return events_.size() >= 2; });
  now_ += milliseconds(50'000);
  pool_->Tick(now_);
  EXPECT_EQ(pool_->NextDeadline(), SteadyTime::max());
}

TEST_F(TrainerPoolTest, AMissingProgramIsTriedAgainAndFailsTheAttemptInTheEnd) {
  StartPool([](auto& options) { options.program = "/no/such/trainer"; });
  ASSERT_TRUE(pool_->Run(Order("started"), now_).ok());
  Until([&] {
    now_ += milliseconds(100);
    return Lost() != nullptr;
  });
  EXPECT_EQ(pool_->counts().started, 3);
  EXPECT_EQ(Lost()->reason.code, v1::Reason::TRAINER_LOST);
  EXPECT_THAT(Lost()->reason.message, HasSubstr("/no/such/trainer"));
  EXPECT_TRUE(pool_->devices().empty());
}

TEST_F(TrainerPoolTest, AnotherReleasesTrainerIsNotUsed) {
  StartPool([](auto& options) { options.environment = {"FAKE_TRAINER_PROTOCOL=2"}; });
  ASSERT_TRUE(pool_->Run(Order("started"), now_).ok());
  Until([&] {
    now_ += milliseconds(100);
    return Lost() != nullptr;
  });
  EXPECT_THAT(Lost()->reason.message, HasSubstr("same release"));
}

TEST_F(TrainerPoolTest, ATrainerThatNeverSaysHelloIsReplaced) {
  StartPool([](auto& options) { options.environment = {"FAKE_TRAINER_MUTE=1"}; });
  now_ += milliseconds(60'000);
  pool_->Tick(now_);
  now_ += milliseconds(200);
  Until([&] { return pool_->counts().started == 2; });
}

TEST_F(TrainerPoolTest, ATrainerThatHangsInItsBindIsReplaced) {
  StartPool();
  Until([&] { return pool_->devices().size() == 1; });
  RunOrder order = Order("started", "job-1", "unanswered");
  order.start_timeout = milliseconds(0);
  ASSERT_TRUE(pool_->Run(std::move(order), now_).ok());
  EXPECT_EQ(pool_->NextDeadline(), now_ + milliseconds(60'000));
  now_ += milliseconds(60'000);
  pool_->Tick(now_);
  now_ += milliseconds(200);
  Until([&] { return pool_->counts().started == 2; });
}

TEST_F(TrainerPoolTest, ATenantThatCannotBeBoundLosesItsAttempt) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started", "job-1", "unbindable"), now_).ok());
  Until([&] {
    now_ += milliseconds(100);
    return Lost() != nullptr;
  });
  EXPECT_THAT(Lost()->reason.message, HasSubstr("no such tenant"));
}

// The fake one says that it is in no sandbox, and that this is all right.
TEST_F(TrainerPoolTest, ATrainerInALesserSandboxThanRequiredRunsNothing) {
  StartPool([](TrainerPoolOptions& options) {
    options.required_sandbox = process::SandboxLevel::kSeccomp;
    options.expected_sandbox = process::SandboxLevel::kFull;
  });
  EXPECT_EQ(pool_->sandbox_level(), "full");
  ASSERT_TRUE(pool_->Run(Order("started"), now_).ok());
  Until([&] {
    now_ += milliseconds(100);
    return Lost() != nullptr;
  });
  EXPECT_THAT(Lost()->reason.message, HasSubstr("sandbox level none, and seccomp is required (--require-sandbox)"));
}

TEST_F(TrainerPoolTest, WhatTheBoundTrainerReachedIsReportedFromThenOn) {
  StartPool([](TrainerPoolOptions& options) { options.expected_sandbox = process::SandboxLevel::kFull; });
  RunToEnd("started");
  EXPECT_EQ(pool_->sandbox_level(), "none");
}

TEST_F(TrainerPoolTest, ATrainerThatDiesIdleIsReplacedButNotInABusyLoop) {
  StartPool();
  RunToEnd("started");
  ASSERT_TRUE(launcher_.Signal(1, SIGKILL).ok());  // the first process it started
  Until([&] { return pool_->NextDeadline() == now_ + milliseconds(200); });
  EXPECT_EQ(pool_->counts().started, 1);
  now_ += milliseconds(200);
  RunToEnd("started", "job-2");
  EXPECT_EQ(pool_->counts().started, 2);
}

TEST_F(TrainerPoolTest, TellsTheTrainerThatItsCheckpointIsCommitted) {
  StartPool();
  ASSERT_TRUE(pool_->Run(Order("started,save=5"), now_).ok());
  Until([&] {
    for (const TrainerEvent& event : events_) {
      const auto* reported = std::get_if<AttemptReported>(&event);
      if (reported != nullptr && reported->report.has_checkpoint_saved()) return true;
    }
    return false;
  });
  v1::CheckpointCommitted committed;
  committed.set_name("attempt-0001/step-5");
  committed.add_deletions("old");
  pool_->Tell({"job-1", 1}, committed);
  Until([&] { return Ended() != nullptr; });
  EXPECT_EQ(Output(v1::LogStream::STDOUT), "committed attempt-0001/step-5 deleted old\n");
}

TEST_F(TrainerPoolTest, TwentyThousandRecordsDoNotStopTheTrainerOrLoseOne) {
  StartPool();
  RunToEnd("started,records=20000");
  EXPECT_EQ(LastSequence(), 20'000);
}

}  // namespace
}  // namespace mantissa::agent
