#include "worker/trainer/trainer.h"

#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/trainer_fixture.h"

namespace mantissa::trainer {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kEndless[] = "training { iterations: 1000000000 telemetry { every_iterations: 1000000 } }";

TEST_F(TrainerTest, SaysHelloWithWhatItIs) {
  const v1::Hello hello = Start();
  EXPECT_EQ(hello.protocol_min(), kProtocol);
  EXPECT_EQ(hello.protocol_max(), kProtocol);
  EXPECT_GT(hello.features_size(), 0);
  EXPECT_EQ(hello.version(), "1.2.3");
  EXPECT_FALSE(hello.torch_version().empty());
  EXPECT_FALSE(hello.cpu_capability().empty());
  ASSERT_EQ(hello.devices_size(), 1);
  EXPECT_EQ(hello.devices(0).id(), "cpu-0");
  EXPECT_TRUE(ShutDown().ok());
}

TEST_F(TrainerTest, AnAgentThatSpeaksItsProtocolIsWelcome) {
  Start();
  v1::TrainerCommand command;
  command.mutable_hello()->set_protocol_min(kProtocol - 1);
  command.mutable_hello()->set_protocol_max(kProtocol + 1);
  agent_.Send(command);
  EXPECT_EQ(Bind(GoodBind()), "");
  EXPECT_TRUE(ShutDown().ok());
}

class OtherProtocolTest : public TrainerTest, public ::testing::WithParamInterface<std::pair<int, int>> {};

TEST_P(OtherProtocolTest, AnAgentOfAnotherProtocolIsRefused) {
  Start();
  v1::TrainerCommand command;
  command.mutable_hello()->set_protocol_min(GetParam().first);
  command.mutable_hello()->set_protocol_max(GetParam().second);
  agent_.Send(command);
  const absl::Status status = Join();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("the agent speaks protocol"), HasSubstr("of the same release")));
}

INSTANTIATE_TEST_SUITE_P(OlderAndNewer, OtherProtocolTest,
                         ::testing::Values(std::pair(0, kProtocol - 1), std::pair(kProtocol + 1, kProtocol + 2)));

TEST_F(TrainerTest, IsBoundOnce) {
  StartBound();
  EXPECT_THAT(Bind(GoodBind()), HasSubstr("bound already"));
}

TEST_F(TrainerTest, ABindThatFailedCanBeMended) {
  Start();
  v1::Bind bad = GoodBind();
  bad.mutable_roots(0)->set_path((folder_.data() / "not-there").string());
  EXPECT_THAT(Bind(bad), Not(IsEmpty()));
  EXPECT_EQ(Bind(GoodBind()), "");
  EXPECT_EQ(Run(AttemptOf()).ended.state(), v1::Attempt::SUCCEEDED);
}

TEST_F(TrainerTest, ASandboxThatItHasNotIsRefused) {
  Start();
  v1::Bind bind = GoodBind();
  bind.set_required_sandbox_level("landlock");
  EXPECT_THAT(Bind(bind), AllOf(HasSubstr("sandbox level landlock is required"), HasSubstr("reached none"),
                                HasSubstr("require less")));
  bind.set_required_sandbox_level("bunker");
  EXPECT_THAT(Bind(bind), AllOf(HasSubstr("bunker"), HasSubstr("same release")));
  bind.set_required_sandbox_level("none");
  EXPECT_EQ(Bind(bind), "");
}

TEST_F(TrainerTest, ItEntersItsSandboxWithTheRootsOfBindAndSaysHowFarItGot) {
  std::vector<process::Root> roots;
  options_.enter_sandbox = [&roots](const std::vector<process::Root>& given) {
    roots = given;
    return process::SandboxLevel::kSeccomp;
  };
  expected_level_ = "seccomp";
  Start();
  v1::Bind bind = GoodBind();
  bind.set_required_sandbox_level("seccomp");
  EXPECT_EQ(Bind(bind), "");
  ASSERT_EQ(roots.size(), 2u);
  EXPECT_EQ(roots[1].name, "checkpoints");
  EXPECT_EQ(roots[1].path, folder_.checkpoints().string());
  EXPECT_TRUE(roots[1].writable);
  EXPECT_FALSE(roots[0].writable);
}

TEST_F(TrainerTest, ASandboxThatFailsIsNotTakenForOne) {
  options_.enter_sandbox = [](const std::vector<process::Root>&) { return absl::InternalError("it broke"); };
  Start();
  EXPECT_THAT(Bind(GoodBind()), HasSubstr("it broke"));
  EXPECT_EQ(Run(AttemptOf()).ended.state(), v1::Attempt::FAILED);
}

TEST_F(TrainerTest, AnAttemptBeforeBindIsTheAgentsFault) {
  Start();
  const v1::AttemptEnded ended = Run(AttemptOf()).ended;
  EXPECT_EQ(ended.job_id(), kJob);
  EXPECT_EQ(ended.attempt(), 1);
  EXPECT_EQ(ended.state(), v1::Attempt::FAILED);
  EXPECT_EQ(ended.reason(), v1::Reason::INTERNAL_ERROR);
  EXPECT_THAT(ended.message(), HasSubstr("before it bound the trainer"));
  EXPECT_FALSE(ended.reusable());
}

TEST_F(TrainerTest, RunsOneAttemptAfterAnother) {
  StartBound();
  for (std::int32_t attempt = 1; attempt <= 3; ++attempt) {
    const AttemptSeen seen = Run(AttemptOf("", attempt));
    EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED) << seen.ended.message();
    EXPECT_EQ(seen.ended.attempt(), attempt);
    EXPECT_TRUE(seen.ended.reusable());
    ASSERT_THAT(seen.saved, SizeIs(1));
    EXPECT_EQ(seen.saved.at(0).storage_id(), "storage-of-checkpoints");
  }
  EXPECT_TRUE(ShutDown().ok());
}

TEST_F(TrainerTest, AfterItsLastAttemptItIsNotReusable) {
  options_.max_attempts = 2;
  StartBound();
  EXPECT_TRUE(Run(AttemptOf("", 1)).ended.reusable());
  const AttemptSeen last = Run(AttemptOf("", 2));
  EXPECT_EQ(last.ended.state(), v1::Attempt::SUCCEEDED);
  EXPECT_FALSE(last.ended.reusable());
}

TEST_F(TrainerTest, ABadSpecIsAnEndAndTheConversationGoesOn) {
  StartBound();
  const AttemptSeen seen = Run(AttemptOf("training { batch_size: -1 }"));
  EXPECT_EQ(seen.ended.reason(), v1::Reason::BAD_SPEC);
  EXPECT_FALSE(seen.ended.reusable());
  EXPECT_TRUE(ShutDown().ok());
}

TEST_F(TrainerTest, TheMemoryLimitOfTheBindHolds) {
  Start();
  v1::Bind bind = GoodBind();
  bind.set_memory_limit_bytes(1);
  ASSERT_EQ(Bind(bind), "");
  EXPECT_EQ(Run(AttemptOf()).ended.reason(), v1::Reason::OUT_OF_DEVICE_MEMORY);
}

// Its micro-batch takes some 200 million operations, enough for three threads.
constexpr char kWide[] = "training { model { mlp { hidden: 1024 hidden: 1024 } } batch_size: 64 iterations: 1 }";

TEST_F(TrainerTest, ThreadsAreThoseThatTheBindGrants) {
  Start();
  v1::Bind bind = GoodBind();
  bind.mutable_device()->set_cpu_threads(2);
  ASSERT_EQ(Bind(bind), "");
  EXPECT_EQ(Run(AttemptOf(kWide)).events().at(0).started().threads(), 2);
}

TEST_F(TrainerTest, WithoutAGrantThreadsAreTheMachines) {
  options_.description.set_cpu_threads(3);
  StartBound();
  EXPECT_EQ(Run(AttemptOf(kWide)).events().at(0).started().threads(), 3);
}

TEST_F(TrainerTest, AStopEndsTheAttemptAndNotTheTrainer) {
  StartBound();
  SendRun(AttemptOf(kEndless));
  const AttemptSeen seen = Follow([this](const v1::TrainerReport& report) {
    if (report.has_started()) agent_.Send(StopCommand(kJob, 1, /*checkpoint=*/true));
  });
  EXPECT_EQ(seen.ended.state(), v1::Attempt::CANCELLED) << seen.ended.message();
  EXPECT_THAT(seen.saved, SizeIs(1));
  EXPECT_EQ(Run(AttemptOf("", 2)).ended.state(), v1::Attempt::SUCCEEDED);
}

TEST_F(TrainerTest, AStopThatComesAfterItsAttemptStopsNothing) {
  StartBound();
  Run(AttemptOf("", 1));
  agent_.Send(StopCommand(kJob, 1));
  EXPECT_EQ(Run(AttemptOf("", 2)).ended.state(), v1::Attempt::SUCCEEDED);
}

TEST_F(TrainerTest, AShutdownStopsTheAttemptAndEndsTheTrainer) {
  StartBound();
  SendRun(AttemptOf(kEndless));
  const AttemptSeen seen = Follow([this](const v1::TrainerReport& report) {
    if (report.has_started()) agent_.Send(ShutdownCommand());
  });
  EXPECT_EQ(seen.ended.state(), v1::Attempt::CANCELLED);
  EXPECT_THAT(seen.saved, IsEmpty());
  EXPECT_TRUE(Join().ok());
}

TEST_F(TrainerTest, AnAgentThatClosesItsEndEndsIt) {
  Start();
  agent_.Close();
  EXPECT_TRUE(Join().ok());
}

TEST_F(TrainerTest, AnAgentThatIsGoneEndsARunningAttemptToo) {
  StartBound();
  SendRun(AttemptOf(kEndless));
  while (const auto report = agent_.Await()) {
    if (report->has_started()) break;
  }
  agent_.Close();
  EXPECT_TRUE(Join().ok());
  EXPECT_FALSE(std::filesystem::exists(folder_.checkpoints() / kJob)) << "nobody is left to commit a checkpoint";
}

TEST_F(TrainerTest, AnEndInsideAFrameIsAnError) {
  Start();
  agent_.SendBytes(std::string("\x10\0", 2));
  agent_.Close();
  EXPECT_TRUE(absl::IsDataLoss(Join()));
}

TEST_F(TrainerTest, FramesThatCannotBeTrustedEndIt) {
  Start();
  agent_.SendBytes(std::string("\xff\xff\xff\xff", 4));
  EXPECT_TRUE(absl::IsInvalidArgument(Join()));
}

TEST_F(TrainerTest, ACommandOfANewerAgentIsDropped) {
  Start();
  agent_.Send(v1::TrainerCommand());
  EXPECT_EQ(Bind(GoodBind()), "");
  EXPECT_TRUE(ShutDown().ok());
}

v1::TrainerCommand Committed(const v1::Checkpoint& checkpoint, const std::vector<std::string>& deletions,
                             const std::string& error = "") {
  v1::TrainerCommand command;
  command.mutable_checkpoint_committed()->set_name(checkpoint.name());
  command.mutable_checkpoint_committed()->set_error(error);
  for (const std::string& path : deletions) command.mutable_checkpoint_committed()->add_deletions(path);
  return command;
}

TEST_F(TrainerTest, WhatTheServerNoLongerNeedsIsDeletedWhileTheAttemptRuns) {
  StartBound();
  SendRun(AttemptOf("training { checkpoint { every_steps: 5 } }"));
  std::vector<v1::Checkpoint> saved;
  Follow([&](const v1::TrainerReport& report) {
    if (!report.has_checkpoint_saved()) return;
    saved.push_back(report.checkpoint_saved().checkpoint());
    if (saved.size() == 2) agent_.Send(Committed(saved.at(1), {saved.at(0).path()}));
  });
  ASSERT_THAT(saved, SizeIs(4));
  EXPECT_TRUE(ShutDown().ok());
  EXPECT_FALSE(std::filesystem::exists(folder_.checkpoints() / saved.at(0).path()));
  EXPECT_TRUE(std::filesystem::exists(folder_.checkpoints() / saved.at(1).path()));
}

TEST_F(TrainerTest, DeletesBetweenAttemptsToo) {
  StartBound();
  const AttemptSeen seen = Run(AttemptOf());
  agent_.Send(Committed(seen.saved.at(0), {seen.saved.at(0).path()}));
  EXPECT_TRUE(ShutDown().ok());
  EXPECT_FALSE(std::filesystem::exists(folder_.checkpoints() / seen.saved.at(0).path()));
}

TEST_F(TrainerTest, DeletesOnlyGenerationsOfItsOwnJob) {
  StartBound();
  const AttemptSeen seen = Run(AttemptOf());
  const std::string other = "01j00000000000000000000001/attempt-0001/step-00000020";
  std::filesystem::create_directories(folder_.checkpoints() / other);
  agent_.Send(Committed(seen.saved.at(0), {other, std::string(kJob), "../data"}));
  EXPECT_TRUE(ShutDown().ok());
  EXPECT_TRUE(std::filesystem::exists(folder_.checkpoints() / other));
  EXPECT_TRUE(std::filesystem::exists(folder_.checkpoints() / seen.saved.at(0).path()));
  EXPECT_TRUE(std::filesystem::exists(folder_.data()));
}

TEST_F(TrainerTest, ARefusedCheckpointIsNoReasonToStop) {
  StartBound();
  const AttemptSeen seen = Run(AttemptOf());
  agent_.Send(Committed(seen.saved.at(0), {}, "the lease is gone"));
  EXPECT_EQ(Run(AttemptOf("", 2)).ended.state(), v1::Attempt::SUCCEEDED);
  EXPECT_TRUE(std::filesystem::exists(folder_.checkpoints() / seen.saved.at(0).path()));
}

TEST_F(TrainerTest, WithoutARootOfCheckpointsThereIsNothingToDelete) {
  Start();
  v1::Bind bind = GoodBind();
  bind.mutable_roots()->RemoveLast();
  ASSERT_EQ(Bind(bind), "");
  EXPECT_EQ(Run(AttemptOf()).ended.reason(), v1::Reason::CHECKPOINT_FAILED);
  agent_.Send(Committed(v1::Checkpoint(), {std::string(kJob) + "/attempt-0001/step-00000020"}));
  EXPECT_TRUE(ShutDown().ok());
}

TEST_F(TrainerTest, ACommitBeforeBindDeletesNothing) {
  Start();
  agent_.Send(Committed(v1::Checkpoint(), {"anything"}));
  EXPECT_TRUE(ShutDown().ok());
}

TEST_F(TrainerTest, EveryEndArrivesWhenTheyQueueUp) {
  StartBound({.max_telemetry_bytes = 1024, .max_pending_bytes = 1024});
  constexpr std::int32_t kAttempts = 100;
  for (std::int32_t attempt = 1; attempt <= kAttempts; ++attempt) {
    SendRun(AttemptOf("training { batch_size: -1 }", attempt));
  }
  for (std::int32_t attempt = 1; attempt <= kAttempts; ++attempt) {
    ASSERT_EQ(Follow([](const v1::TrainerReport&) {}).ended.attempt(), attempt);
  }
}

// An agent that does not read for the whole of an attempt, with next to no room on the way to it.
TEST_F(TrainerTest, TheEndOfAnAttemptArrivesHoweverFullTheWayIs) {
  constexpr std::size_t kLittle = 2048;
  StartBound({.max_telemetry_bytes = kLittle, .max_pending_bytes = kLittle});
  // Every tenth iteration is evaluated and saved, and each of these is an event that finds the queue full.
  SendRun(
      AttemptOf("training { iterations: 400 checkpoint { every_steps: 10 } "
                "data { eval { synthetic { samples: 8 shape: 6 classes: 3 } } } evaluation { every_steps: 10 } }"));
  // The last generation is on disk: the attempt is at its end, and not a byte was read.
  const std::filesystem::path last = folder_.checkpoints() / kJob / "attempt-0001" / "step-00000400" / "MANIFEST.json";
  while (!std::filesystem::exists(last)) std::this_thread::yield();
  const AttemptSeen seen = Follow([](const v1::TrainerReport&) {});
  EXPECT_EQ(seen.ended.state(), v1::Attempt::SUCCEEDED);
  EXPECT_GT(seen.ended.last_attempt_sequence(), 400);
  EXPECT_TRUE(ShutDown().ok());
}

}  // namespace
}  // namespace mantissa::trainer
