#include "process/frame.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace mantissa::process {
namespace {

constexpr std::size_t kReadChunkBytes = std::size_t{64} << 10;

std::array<char, kFrameHeaderBytes> EncodeHeader(std::size_t length) {
  std::array<char, kFrameHeaderBytes> header;
  for (std::size_t i = 0; i < header.size(); ++i) header[i] = static_cast<char>(length >> (8 * i));
  return header;
}

std::size_t DecodeHeader(std::string_view header) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kFrameHeaderBytes; ++i) {
    length |= static_cast<std::size_t>(static_cast<unsigned char>(header[i])) << (8 * i);
  }
  return length;
}

absl::Status TooLarge(std::size_t length) {
  return absl::InvalidArgumentError(
      absl::StrCat("a frame of ", length, " bytes; at most ", kMaxFrameBytes, " are allowed"));
}

absl::Status CleanEnd() { return absl::OutOfRangeError("end of the frame stream"); }

absl::Status Cut(std::size_t have) {
  return absl::DataLossError(absl::StrCat("the frame stream was cut inside a frame, after ", have, " bytes of it"));
}

absl::Status IoError(std::string_view act, int error) {
  const std::string text = absl::StrCat("frame ", std::string(act), ": ", std::strerror(error));
  if (error == EPIPE || error == ECONNRESET) return absl::UnavailableError(text);
  if (error == EAGAIN) return absl::FailedPreconditionError(text + " (the descriptor must be in blocking mode)");
  return absl::InternalError(text);
}

// Returns what write(2) does, without SIGPIPE on a socket.
ssize_t WriteSome(int fd, const char* data, std::size_t size) {
  for (;;) {
    ssize_t wrote = ::send(fd, data, size, MSG_NOSIGNAL);
    if (wrote < 0 && errno == ENOTSOCK) wrote = ::write(fd, data, size);
    if (wrote >= 0 || errno != EINTR) return wrote;
  }
}

ssize_t ReadSome(int fd, char* data, std::size_t size) {
  for (;;) {
    const ssize_t got = ::read(fd, data, size);
    if (got >= 0 || errno != EINTR) return got;
  }
}

// Appends exactly `size` bytes to `out`; what is short of that is an error whose OUT_OF_RANGE means "not one byte".
// Memory grows with what arrives, not with what a header announces.
absl::Status ReadExactly(int fd, std::size_t size, std::string& out) {
  const std::size_t goal = out.size() + size;
  const std::size_t before = out.size();
  while (out.size() < goal) {
    const std::size_t at = out.size();
    const std::size_t chunk = std::min(goal - at, kReadChunkBytes);
    out.resize(at + chunk);
    const ssize_t got = ReadSome(fd, out.data() + at, chunk);
    const int error = errno;
    out.resize(at + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0) return IoError("read", error);
    if (got == 0) return out.size() == before ? CleanEnd() : Cut(out.size());
  }
  return absl::OkStatus();
}

}  // namespace

bool IsEndOfStream(const absl::Status& status) { return absl::IsOutOfRange(status); }

absl::StatusOr<std::string> ReadFrame(int fd) {
  std::string header;
  if (absl::Status read = ReadExactly(fd, kFrameHeaderBytes, header); !read.ok()) return read;
  const std::size_t length = DecodeHeader(header);
  if (length > kMaxFrameBytes) return TooLarge(length);
  std::string payload;
  absl::Status read = ReadExactly(fd, length, payload);
  if (IsEndOfStream(read)) return Cut(kFrameHeaderBytes);
  if (!read.ok()) return read;
  return payload;
}

absl::Status WriteFrame(int fd, std::string_view payload) {
  if (payload.size() > kMaxFrameBytes) return TooLarge(payload.size());
  // One buffer, so that a small frame is one write.
  const auto header = EncodeHeader(payload.size());
  std::string frame(header.data(), header.size());
  frame.append(payload);
  for (std::size_t written = 0; written < frame.size();) {
    const ssize_t wrote = WriteSome(fd, frame.data() + written, frame.size() - written);
    if (wrote < 0) return IoError("write", errno);
    written += static_cast<std::size_t>(wrote);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::size_t> FrameBuffer::ReadFrom(int fd, std::size_t max_bytes) {
  if (!error_.ok()) return error_;
  std::array<char, kReadChunkBytes> chunk;
  std::size_t total = 0;
  while (total < max_bytes) {
    const std::size_t wanted = std::min(chunk.size(), max_bytes - total);
    const ssize_t got = ReadSome(fd, chunk.data(), wanted);
    if (got < 0 && errno == EAGAIN) break;
    if (got < 0) return IoError("read", errno);
    if (got == 0) {
      // The bytes read in this call come first; the end is found again by the next.
      if (total > 0) break;
      return EndOfStream();
    }
    if (absl::Status appended = Append(std::string_view(chunk.data(), static_cast<std::size_t>(got))); !appended.ok()) {
      return appended;
    }
    total += static_cast<std::size_t>(got);
    if (static_cast<std::size_t>(got) < wanted) break;
  }
  return total;
}

absl::Status FrameBuffer::Append(std::string_view bytes) {
  if (!error_.ok()) return error_;
  // Taken frames are dropped once they are half of the buffer: each byte is moved once on average.
  if (start_ > 0 && start_ >= buffer_.size() / 2) {
    buffer_.erase(0, start_);
    start_ = 0;
  }
  buffer_.append(bytes);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> FrameBuffer::Next() {
  if (!error_.ok()) return error_;
  if (buffered_bytes() < kFrameHeaderBytes) return std::nullopt;
  const std::string_view rest = std::string_view(buffer_).substr(start_);
  const std::size_t length = DecodeHeader(rest);
  if (length > kMaxFrameBytes) return error_ = TooLarge(length);
  if (rest.size() < kFrameHeaderBytes + length) return std::nullopt;
  std::string payload(rest.substr(kFrameHeaderBytes, length));
  start_ += kFrameHeaderBytes + length;
  return payload;
}

absl::Status FrameBuffer::EndOfStream() const {
  if (!error_.ok()) return error_;
  return buffered_bytes() == 0 ? CleanEnd() : Cut(buffered_bytes());
}

FrameWriter::FrameWriter(std::size_t max_pending_bytes) : max_pending_bytes_(max_pending_bytes) {}

absl::Status FrameWriter::Enqueue(std::string_view payload) {
  if (payload.size() > kMaxFrameBytes) return TooLarge(payload.size());
  const std::size_t size = kFrameHeaderBytes + payload.size();
  if (!frames_.empty() && pending_bytes_ + size > max_pending_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the frame queue holds ", pending_bytes_, " bytes and has no room for ", size));
  }
  const auto header = EncodeHeader(payload.size());
  std::string& frame = frames_.emplace_back();
  frame.reserve(size);
  frame.append(header.data(), header.size());
  frame.append(payload);
  pending_bytes_ += size;
  return absl::OkStatus();
}

absl::StatusOr<bool> FrameWriter::Flush(int fd) {
  while (!frames_.empty()) {
    const std::string& frame = frames_.front();
    const ssize_t wrote = WriteSome(fd, frame.data() + written_, frame.size() - written_);
    if (wrote < 0 && errno == EAGAIN) return false;
    if (wrote < 0) return IoError("write", errno);
    written_ += static_cast<std::size_t>(wrote);
    pending_bytes_ -= static_cast<std::size_t>(wrote);
    if (written_ == frame.size()) {
      frames_.pop_front();
      written_ = 0;
    }
  }
  return true;
}

}  // namespace mantissa::process
