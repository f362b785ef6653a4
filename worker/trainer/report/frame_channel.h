// The trainer's end of the frames between agent and trainer.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/file_descriptor.h"
#include "process/frame.h"

namespace mantissa::trainer {

struct FrameChannelOptions {
  // Telemetry that waits for an agent that does not read; beyond it records are coalesced.
  std::size_t max_telemetry_bytes = std::size_t{8} << 20;
  // Everything that waits; what must arrive is still queued up to here.
  std::size_t max_pending_bytes = std::size_t{64} << 20;
};

// Never waits for the agent but in Wait and Drain. The first error of the descriptor stays; from then on nothing is
// sent and Receive returns it. Not thread-safe.
class FrameChannel {
 public:
  // Puts `fd` into non-blocking mode.
  explicit FrameChannel(process::FileDescriptor fd, const FrameChannelOptions& options = {});

  // There is room for telemetry.
  bool has_room() const { return writer_.pending_bytes() < options_.max_telemetry_bytes; }
  // Everything queued has been handed to the kernel.
  bool drained() const { return writer_.empty() || !error_.ok(); }

  // Queues a report and writes what goes out. False when the queue is full or the agent is gone.
  bool Send(const v1::TrainerReport& report);

  // Continues writing what is queued.
  void Flush();

  // The next command, nothing when none is there. OUT_OF_RANGE when the agent closed its end; another error when what
  // it sends can't be trusted.
  absl::StatusOr<std::optional<v1::TrainerCommand>> Receive();

  // Waits for the agent: until everything queued has been handed to the kernel, or the agent is gone.
  void Drain();

  // Until something can be read, until the queue can be written on, or until the time is over.
  void Wait(std::chrono::milliseconds timeout);

  const absl::Status& error() const { return error_; }

 private:
  const FrameChannelOptions options_;
  process::FileDescriptor fd_;
  process::FrameBuffer reader_;
  process::FrameWriter writer_;
  absl::Status error_;
};

}  // namespace mantissa::trainer
