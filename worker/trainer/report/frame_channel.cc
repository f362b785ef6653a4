#include "worker/trainer/report/frame_channel.h"

#include <fcntl.h>
#include <poll.h>
#include <string>
#include <utility>

namespace mantissa::trainer {

FrameChannel::FrameChannel(process::FileDescriptor fd, const FrameChannelOptions& options)
    : options_(options), fd_(std::move(fd)), writer_(options.max_pending_bytes) {
  const int flags = ::fcntl(fd_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(fd_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    error_ = absl::InvalidArgumentError("the frames descriptor is not open; start the trainer through the agent");
  }
}

bool FrameChannel::Send(const v1::TrainerReport& report) {
  if (!error_.ok() || !writer_.Enqueue(report.SerializeAsString()).ok()) return false;
  Flush();
  return error_.ok();
}

void FrameChannel::Flush() {
  if (!error_.ok() || writer_.empty()) return;
  if (auto flushed = writer_.Flush(fd_.get()); !flushed.ok()) error_ = flushed.status();
}

void FrameChannel::Drain() {
  for (Flush(); !drained(); Flush()) {
    pollfd poll = {fd_.get(), POLLOUT, 0};
    ::poll(&poll, 1, /*timeout=*/-1);
  }
}

absl::StatusOr<std::optional<v1::TrainerCommand>> FrameChannel::Receive() {
  for (;;) {
    auto frame = reader_.Next();
    if (!frame.ok()) return error_ = frame.status();
    if (frame->has_value()) {
      v1::TrainerCommand command;
      if (!command.ParseFromString(**frame)) {
        return error_ = absl::InvalidArgumentError("a frame of the agent is no TrainerCommand");
      }
      return command;
    }
    if (!error_.ok()) return error_;
    auto read = reader_.ReadFrom(fd_.get());
    if (!read.ok()) return error_ = read.status();
    if (*read == 0) return std::nullopt;
  }
}

void FrameChannel::Wait(std::chrono::milliseconds timeout) {
  if (!error_.ok()) return;
  pollfd poll = {fd_.get(), static_cast<short>(writer_.empty() ? POLLIN : POLLIN | POLLOUT), 0};
  ::poll(&poll, 1, static_cast<int>(timeout.count()));
}

}  // namespace mantissa::trainer
