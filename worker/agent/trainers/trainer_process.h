// The descriptors of one trainer process: its frames and its output.
#pragma once

#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "mantissa/v1/job_service.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"
#include "process/file_descriptor.h"
#include "process/frame.h"
#include "worker/agent/launch/launcher_message.h"

namespace mantissa::agent {

struct TrainerOutput {
  v1::LogStream::Name stream = v1::LogStream::STDERR;
  std::string bytes;
};

// Holds the agent's ends of a trainer's descriptors, all in non-blocking mode: a trainer that writes too much, or does
// not read, never stops the agent. What a report means is TrainerSession's. Not thread-safe.
class TrainerProcess {
 public:
  explicit TrainerProcess(std::uint64_t id) : id_(id) {}

  std::uint64_t id() const { return id_; }
  pid_t pid() const { return pid_; }  // 0 until it is started

  // Takes over the descriptors.
  void Started(ProcessStarted started);

  // What poll(2) shall look for. Nothing before Started and after everything has ended.
  void AppendPollFds(std::vector<pollfd>& fds) const;
  bool Owns(int fd) const;

  // Reads what is there, at most about `budget` bytes, so that one busy trainer does not keep the others waiting.
  // OUT_OF_RANGE: the trainer closed its end; anything else: what it sends can't be trusted, and the rest is not read.
  absl::Status ReadFrames(std::vector<v1::TrainerReport>& reports, std::size_t budget = std::size_t{1} << 20);

  // Reads what is there of stdout and stderr, at most 1 MiB each.
  std::vector<TrainerOutput> ReadOutput();

  // Queues a command and writes what goes out without blocking. A trainer that reads nothing until 32 MiB wait is
  // RESOURCE_EXHAUSTED.
  absl::Status Send(const v1::TrainerCommand& command);
  absl::Status Flush();

  // The last 4 KiB of stderr, for the message when it dies.
  const std::string& last_words() const { return last_words_; }

 private:
  void Watch(const process::FileDescriptor& fd, short events, std::vector<pollfd>& fds) const;

  const std::uint64_t id_;
  pid_t pid_ = 0;
  process::FileDescriptor frames_, out_, err_;
  process::FrameBuffer incoming_;
  process::FrameWriter outgoing_;
  std::string last_words_;
};

}  // namespace mantissa::agent
