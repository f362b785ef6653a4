#include "worker/agent/trainers/trainer_process.h"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <unistd.h>
#include <utility>

#include "absl/status/statusor.h"

namespace mantissa::agent {
namespace {

constexpr std::size_t kReadChunkBytes = std::size_t{64} << 10;
constexpr std::size_t kOutputBudgetBytes = std::size_t{1} << 20;
constexpr std::size_t kLastWordsBytes = 4096;

void MakeNonBlocking(const process::FileDescriptor& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// Appends what is there; closes the descriptor at its end.
void ReadPipe(process::FileDescriptor& fd, std::string& bytes) {
  std::array<char, 16384> chunk;
  while (fd.valid() && bytes.size() < kOutputBudgetBytes) {
    const ssize_t size = ::read(fd.get(), chunk.data(), chunk.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
    if (size <= 0) {
      fd.Close();
      return;
    }
    bytes.append(chunk.data(), static_cast<std::size_t>(size));
  }
}

}  // namespace

void TrainerProcess::Started(ProcessStarted started) {
  pid_ = started.pid;
  frames_ = std::move(started.frames);
  out_ = std::move(started.out);
  err_ = std::move(started.err);
  for (const auto* fd : {&frames_, &out_, &err_}) MakeNonBlocking(*fd);
}

void TrainerProcess::AppendPollFds(std::vector<pollfd>& fds) const {
  Watch(frames_, static_cast<short>(POLLIN | (outgoing_.empty() ? 0 : POLLOUT)), fds);
  Watch(out_, POLLIN, fds);
  Watch(err_, POLLIN, fds);
}

bool TrainerProcess::Owns(int fd) const { return fd == frames_.get() || fd == out_.get() || fd == err_.get(); }

absl::Status TrainerProcess::ReadFrames(std::vector<v1::TrainerReport>& reports, std::size_t budget) {
  std::size_t read = 0;
  while (frames_.valid() && read < budget) {
    // One read a turn: an error found after bytes in the same call would hide them.
    const absl::StatusOr<std::size_t> size = incoming_.ReadFrom(frames_.get(), kReadChunkBytes);
    // What came before the end, or before the bad bytes, still counts.
    while (true) {
      absl::StatusOr<std::optional<std::string>> frame = incoming_.Next();
      if (!frame.ok()) {
        frames_.Close();
        return frame.status();
      }
      if (!frame->has_value()) break;
      v1::TrainerReport report;
      if (!report.ParseFromString(**frame) || report.body_case() == v1::TrainerReport::BODY_NOT_SET) {
        frames_.Close();
        return absl::InvalidArgumentError("the trainer sent a frame that is no report");
      }
      reports.push_back(std::move(report));
    }
    if (!size.ok()) {
      frames_.Close();
      // Killed with commands unread a trainer resets the socket, and killed while it writes it leaves half a frame. How
      // it ended says why; what it had sent whole came before that.
      const bool gone = absl::IsUnavailable(size.status()) || absl::IsDataLoss(size.status());
      return gone ? absl::OutOfRangeError("the trainer is gone") : size.status();
    }
    if (*size == 0) break;
    read += *size;
  }
  return absl::OkStatus();
}

std::vector<TrainerOutput> TrainerProcess::ReadOutput() {
  std::vector<TrainerOutput> outputs;
  TrainerOutput out{v1::LogStream::STDOUT, ""}, err{v1::LogStream::STDERR, ""};
  ReadPipe(out_, out.bytes);
  ReadPipe(err_, err.bytes);
  last_words_ += err.bytes;
  if (last_words_.size() > kLastWordsBytes) last_words_.erase(0, last_words_.size() - kLastWordsBytes);
  if (!out.bytes.empty()) outputs.push_back(std::move(out));
  if (!err.bytes.empty()) outputs.push_back(std::move(err));
  return outputs;
}

absl::Status TrainerProcess::Send(const v1::TrainerCommand& command) {
  if (absl::Status queued = outgoing_.Enqueue(command.SerializeAsString()); !queued.ok()) return queued;
  return Flush();
}

absl::Status TrainerProcess::Flush() {
  if (!frames_.valid()) return absl::OkStatus();  // not started yet: sent then; or gone: its end is on its way
  return outgoing_.Flush(frames_.get()).status();
}

void TrainerProcess::Watch(const process::FileDescriptor& fd, short events, std::vector<pollfd>& fds) const {
  if (fd.valid()) fds.push_back({fd.get(), events, 0});
}

}  // namespace mantissa::agent
