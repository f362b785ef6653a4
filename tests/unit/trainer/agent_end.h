// The agent's end of a real socketpair, with the trainer's FrameChannel at the other.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/file_descriptor.h"
#include "process/frame.h"
#include "worker/trainer/report/frame_channel.h"

namespace mantissa::trainer {

// Both ends, not blocking. `send_buffer_bytes`: what the kernel holds for an agent that does not read.
inline std::pair<process::FileDescriptor, process::FileDescriptor> FramePair(int send_buffer_bytes = 0) {
  std::array<int, 2> ends = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()), 0);
  if (send_buffer_bytes > 0) {
    EXPECT_EQ(::setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &send_buffer_bytes, sizeof(send_buffer_bytes)), 0);
  }
  return {process::FileDescriptor(ends[0]), process::FileDescriptor(ends[1])};
}

// Not thread-safe; the trainer may live in another thread.
class AgentEnd {
 public:
  explicit AgentEnd(process::FileDescriptor fd) : fd_(std::move(fd)) {}

  void Send(const v1::TrainerCommand& command) { ASSERT_TRUE(TrySend(command.SerializeAsString())); }

  // A frame's bytes, or what is none.
  void SendBytes(std::string_view bytes) {
    ASSERT_EQ(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }

  void Close() { fd_.Close(); }

  // All that lies in the socket.
  std::vector<v1::TrainerReport> Read() {
    std::vector<v1::TrainerReport> reports;
    for (;;) {
      while (std::optional<v1::TrainerReport> report = Take()) reports.push_back(*std::move(report));
      const auto read = reader_.ReadFrom(fd_.get());
      if (!read.ok() || *read == 0) return reports;
    }
  }

  // All that the trainer's end has queued, too.
  std::vector<v1::TrainerReport> ReadAll(FrameChannel& channel) {
    std::vector<v1::TrainerReport> reports;
    for (bool drained = false; !drained;) {
      drained = channel.drained();
      for (v1::TrainerReport& report : Read()) reports.push_back(std::move(report));
      channel.Flush();
    }
    return reports;
  }

  // The next report of a trainer in another thread or process; nothing when it ended.
  std::optional<v1::TrainerReport> Await() {
    constexpr int kPatienceMs = 60'000;  // for what comes in a moment, on a machine however busy
    for (;;) {
      if (std::optional<v1::TrainerReport> report = Take()) return report;
      pollfd ready{fd_.get(), POLLIN, 0};
      if (::poll(&ready, 1, kPatienceMs) != 1) {
        ADD_FAILURE() << "the trainer says nothing";
        return std::nullopt;
      }
      if (!reader_.ReadFrom(fd_.get()).ok()) return std::nullopt;
    }
  }

 private:
  bool TrySend(const std::string& payload) {
    process::FrameWriter writer;
    if (!writer.Enqueue(payload).ok()) return false;
    const auto flushed = writer.Flush(fd_.get());
    return flushed.ok() && *flushed;
  }

  std::optional<v1::TrainerReport> Take() {
    const auto frame = reader_.Next();
    if (!frame.ok() || !frame->has_value()) return std::nullopt;
    v1::TrainerReport report;
    EXPECT_TRUE(report.ParseFromString(**frame));
    return report;
  }

  process::FileDescriptor fd_;
  process::FrameBuffer reader_;
};

// A channel and its agent in one thread.
class Conversation {
 public:
  explicit Conversation(const FrameChannelOptions& options = {}, int send_buffer_bytes = 0)
      : Conversation(FramePair(send_buffer_bytes), options) {}

  FrameChannel& channel() { return channel_; }
  AgentEnd& agent() { return agent_; }

 private:
  Conversation(std::pair<process::FileDescriptor, process::FileDescriptor> ends, const FrameChannelOptions& options)
      : channel_(std::move(ends.first), options), agent_(std::move(ends.second)) {}

  FrameChannel channel_;
  AgentEnd agent_;
};

inline v1::TrainerCommand StopCommand(const std::string& job_id, std::int32_t attempt, bool checkpoint = false) {
  v1::TrainerCommand command;
  command.mutable_stop()->set_job_id(job_id);
  command.mutable_stop()->set_attempt(attempt);
  command.mutable_stop()->set_checkpoint(checkpoint);
  return command;
}

inline v1::TrainerCommand ShutdownCommand() {
  v1::TrainerCommand command;
  command.mutable_shutdown();
  return command;
}

}  // namespace mantissa::trainer
