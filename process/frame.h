// Length-prefixed frames over a stream socket or pipe: how agent, launcher and trainer speak.
//
// A frame is a 32-bit little-endian length, then that many bytes; at most 16 MiB. What the bytes mean is the caller's.
// Example: the payload "hi" travels as 02 00 00 00 68 69. A zero-length frame is legal.
//
// Errors, everywhere in this file: OUT_OF_RANGE is the clean end of the stream between two frames (IsEndOfStream);
// DATA_LOSS a stream cut inside a frame; INVALID_ARGUMENT a length over the limit, after which the stream can't be
// trusted; UNAVAILABLE a peer that is gone; anything else an I/O error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mantissa::process {

inline constexpr std::size_t kFrameHeaderBytes = 4;
inline constexpr std::size_t kMaxFrameBytes = std::size_t{16} << 20;

bool IsEndOfStream(const absl::Status& status);

// Blocks until a whole frame is there. `fd` must be in blocking mode.
absl::StatusOr<std::string> ReadFrame(int fd);

// Blocks until all of it is handed to the kernel. `fd` must be in blocking mode. Never raises SIGPIPE on a socket.
absl::Status WriteFrame(int fd, std::string_view payload);

// Cuts a byte stream into frames as bytes arrive, for a descriptor in non-blocking mode. After bytes that are no frame
// every later call returns that error; after one of reading, what was read before it can still be taken. Holds at most
// one incomplete frame beside the complete ones not yet taken. Not thread-safe.
class FrameBuffer {
 public:
  // Reads what `fd` has ready, at most `max_bytes`, and returns how much that was. 0: nothing is ready now.
  absl::StatusOr<std::size_t> ReadFrom(int fd, std::size_t max_bytes = std::size_t{256} << 10);

  // Takes bytes that were read elsewhere.
  absl::Status Append(std::string_view bytes);

  // The next complete frame, nothing when more bytes are needed.
  absl::StatusOr<std::optional<std::string>> Next();

  // What the end of the stream means at this point: OUT_OF_RANGE between frames, DATA_LOSS inside one.
  absl::Status EndOfStream() const;

  std::size_t buffered_bytes() const { return buffer_.size() - start_; }

 private:
  std::string buffer_;
  std::size_t start_ = 0;  // where the first frame not yet taken begins in buffer_
  absl::Status error_;
};

// Frames waiting to be written to a descriptor in non-blocking mode; a partly written one is continued where it
// stopped. The queue is bounded: what doesn't fit is refused whole, so the caller can coalesce. Not thread-safe.
class FrameWriter {
 public:
  explicit FrameWriter(std::size_t max_pending_bytes = std::size_t{32} << 20);

  // RESOURCE_EXHAUSTED when the queue is full, INVALID_ARGUMENT when the payload is over kMaxFrameBytes; in both cases
  // nothing is queued. An empty queue takes any legal frame, whatever the bound.
  absl::Status Enqueue(std::string_view payload);

  // Writes what the kernel takes without blocking. True when nothing is left; false when `fd` is full: call again once
  // it is writable.
  absl::StatusOr<bool> Flush(int fd);

  bool empty() const { return frames_.empty(); }
  std::size_t pending_bytes() const { return pending_bytes_; }

 private:
  const std::size_t max_pending_bytes_;
  std::deque<std::string> frames_;  // header and payload together
  std::size_t written_ = 0;         // of frames_.front()
  std::size_t pending_bytes_ = 0;   // over all of frames_, less written_
};

}  // namespace mantissa::process
