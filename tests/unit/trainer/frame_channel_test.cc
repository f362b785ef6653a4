#include "worker/trainer/report/frame_channel.h"

#include <chrono>
#include <fcntl.h>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/agent_end.h"

namespace mantissa::trainer {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

v1::TrainerReport Report(std::size_t bytes = 0) {
  v1::TrainerReport report;
  report.mutable_ended()->set_message(std::string(bytes, 'x'));
  return report;
}

std::string FrameOf(const v1::TrainerCommand& command) {
  const std::string payload = command.SerializeAsString();
  return std::string({static_cast<char>(payload.size()), 0, 0, 0}) + payload;
}

TEST(FrameChannelTest, CommandsArriveOneByOneAndThenThereIsNone) {
  Conversation conversation;
  conversation.agent().Send(StopCommand("a", 1));
  conversation.agent().Send(ShutdownCommand());
  auto command = conversation.channel().Receive();
  ASSERT_TRUE(command.ok() && command->has_value());
  EXPECT_EQ((*command)->stop().job_id(), "a");
  command = conversation.channel().Receive();
  ASSERT_TRUE(command.ok() && command->has_value());
  EXPECT_TRUE((*command)->has_shutdown());
  command = conversation.channel().Receive();
  ASSERT_TRUE(command.ok());
  EXPECT_FALSE(command->has_value());
}

TEST(FrameChannelTest, AFrameThatComesInPiecesIsOneCommand) {
  Conversation conversation;
  const std::string frame = FrameOf(StopCommand("job", 2));
  for (const char byte : frame.substr(0, frame.size() - 1)) {
    conversation.agent().SendBytes(std::string(1, byte));
    const auto command = conversation.channel().Receive();
    ASSERT_TRUE(command.ok()) << command.status();
    EXPECT_FALSE(command->has_value());
  }
  conversation.agent().SendBytes(frame.substr(frame.size() - 1));
  const auto command = conversation.channel().Receive();
  ASSERT_TRUE(command.ok() && command->has_value());
  EXPECT_EQ((*command)->stop().attempt(), 2);
}

TEST(FrameChannelTest, WhatTheAgentSaidLastIsHeardBeforeItsEnd) {
  Conversation conversation;
  conversation.agent().Send(StopCommand("a", 1));
  conversation.agent().Close();
  const auto command = conversation.channel().Receive();
  ASSERT_TRUE(command.ok() && command->has_value());
  EXPECT_TRUE(process::IsEndOfStream(conversation.channel().Receive().status()));
  EXPECT_TRUE(process::IsEndOfStream(conversation.channel().Receive().status())) << "and it stays so";
  EXPECT_FALSE(conversation.channel().Send(Report()));
}

TEST(FrameChannelTest, AnEndInsideAFrameIsALossAndNotAnEnd) {
  Conversation conversation;
  const std::string frame = FrameOf(StopCommand("job", 2));
  conversation.agent().SendBytes(frame.substr(0, frame.size() / 2));
  conversation.agent().Close();
  absl::Status status;
  while (status.ok()) status = conversation.channel().Receive().status();
  EXPECT_TRUE(absl::IsDataLoss(status)) << status;
}

TEST(FrameChannelTest, AFrameOfAnImpossibleLengthIsRefusedBeforeItIsRead) {
  Conversation conversation;
  conversation.agent().SendBytes(std::string("\xff\xff\xff\x7f", 4));
  const auto command = conversation.channel().Receive();
  EXPECT_TRUE(absl::IsInvalidArgument(command.status())) << command.status();
  EXPECT_FALSE(conversation.channel().error().ok());
  // Nothing after it can be trusted.
  conversation.agent().Send(ShutdownCommand());
  EXPECT_EQ(conversation.channel().Receive().status(), command.status());
}

TEST(FrameChannelTest, AFrameThatIsNoCommandIsRefused) {
  Conversation conversation;
  conversation.agent().SendBytes(std::string("\x02\0\0\0\xff\xff", 6));
  const auto command = conversation.channel().Receive();
  EXPECT_TRUE(absl::IsInvalidArgument(command.status()));
  EXPECT_THAT(std::string(command.status().message()), HasSubstr("no TrainerCommand"));
  EXPECT_EQ(conversation.channel().error(), command.status());
}

TEST(FrameChannelTest, SendingToAnAgentThatIsGoneFails) {
  Conversation conversation;
  EXPECT_TRUE(conversation.channel().Send(Report()));
  conversation.agent().Close();
  EXPECT_FALSE(conversation.channel().Send(Report()));
  const absl::Status error = conversation.channel().error();
  EXPECT_TRUE(absl::IsUnavailable(error)) << error;
  EXPECT_TRUE(conversation.channel().drained()) << "nothing waits for nobody";
  EXPECT_EQ(conversation.channel().Receive().status(), error) << "the first error stays";
}

TEST(FrameChannelTest, NeverWaitsForAnAgentThatDoesNotRead) {
  Conversation conversation({.max_telemetry_bytes = 8192, .max_pending_bytes = 16384}, 4096);
  FrameChannel& channel = conversation.channel();
  int sent = 0;
  while (channel.has_room()) {
    EXPECT_TRUE(channel.Send(Report(1000)));
    ++sent;
  }
  EXPECT_FALSE(channel.drained());
  // What must arrive is queued beyond the room for telemetry, up to the queue's own bound.
  EXPECT_TRUE(channel.Send(Report(1000)));
  ++sent;
  while (channel.Send(Report(1000))) ++sent;
  EXPECT_TRUE(channel.error().ok()) << "full is not broken";
  EXPECT_THAT(conversation.agent().ReadAll(channel), SizeIs(sent));
  EXPECT_TRUE(channel.drained());
  EXPECT_TRUE(channel.has_room());
  EXPECT_TRUE(channel.Send(Report(1000)));
}

TEST(FrameChannelTest, WaitEndsWhenACommandIsThere) {
  Conversation conversation;
  conversation.agent().Send(ShutdownCommand());
  // A wait that did not look at the socket would end this test by its timeout.
  conversation.channel().Wait(std::chrono::hours(1));
  EXPECT_TRUE(conversation.channel().Receive()->has_value());
}

TEST(FrameChannelTest, WaitEndsWhenTheQueueCanBeWrittenOn) {
  Conversation conversation({}, 4096);
  FrameChannel& channel = conversation.channel();
  while (channel.drained()) channel.Send(Report(1000));
  conversation.agent().Read();
  channel.Wait(std::chrono::hours(1));
  channel.Flush();
  EXPECT_THAT(conversation.agent().Read(), ::testing::Not(IsEmpty()));
}

TEST(FrameChannelTest, WaitDoesNotWaitOnABrokenChannel) {
  Conversation conversation;
  // The agent's end is open and says no more.
  conversation.agent().SendBytes(std::string("\xff\xff\xff\x7f", 4));
  ASSERT_FALSE(conversation.channel().Receive().ok());
  conversation.channel().Wait(std::chrono::hours(1));
}

TEST(FrameChannelTest, DrainEndsWhenEverythingHasBeenHandedOver) {
  Conversation conversation({}, 4096);
  FrameChannel& channel = conversation.channel();
  constexpr int kReports = 100;
  for (int i = 0; i < kReports; ++i) EXPECT_TRUE(channel.Send(Report(1000)));
  ASSERT_FALSE(channel.drained());
  // A command that nobody reads must not keep it from waiting.
  conversation.agent().Send(ShutdownCommand());
  std::thread agent([&] {
    for (int i = 0; i < kReports; ++i) EXPECT_TRUE(conversation.agent().Await().has_value());
  });
  channel.Drain();
  EXPECT_TRUE(channel.drained());
  EXPECT_TRUE(channel.error().ok());
  agent.join();
}

TEST(FrameChannelTest, DrainDoesNotWaitForAnAgentThatIsGone) {
  Conversation conversation({}, 4096);
  FrameChannel& channel = conversation.channel();
  while (channel.drained()) channel.Send(Report(1000));
  conversation.agent().Close();
  channel.Drain();
  EXPECT_FALSE(channel.error().ok());
}

TEST(FrameChannelTest, ADescriptorThatIsNotOpenIsSaid) {
  FrameChannel channel{process::FileDescriptor()};
  EXPECT_TRUE(absl::IsInvalidArgument(channel.error()));
  EXPECT_THAT(std::string(channel.error().message()), HasSubstr("start the trainer through the agent"));
  EXPECT_FALSE(channel.Send(Report()));
}

TEST(FrameChannelTest, MakesItsDescriptorNonBlocking) {
  auto [trainer, agent] = FramePair();
  const int fd = trainer.get();
  ASSERT_EQ(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK), 0);
  FrameChannel channel(std::move(trainer));
  EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
}

}  // namespace
}  // namespace mantissa::trainer
