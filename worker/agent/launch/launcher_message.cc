#include "worker/agent/launch/launcher_message.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <utility>

#include "absl/status/status.h"

namespace mantissa::agent {
namespace {

// The largest packet the kernel takes with default buffers is about 200 KiB.
constexpr std::size_t kMaxPacketBytes = 160 * 1024;
constexpr std::size_t kMaxDescriptors = 3;

enum class Kind : std::uint32_t { kStart = 1, kSignal, kStarted, kNotStarted, kEnded };

class Packer {
 public:
  explicit Packer(Kind kind) { Number(static_cast<std::uint32_t>(kind)); }

  template <class T>
  void Number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void Texts(const std::vector<std::string>& texts) {
    Number(static_cast<std::uint32_t>(texts.size()));
    for (const std::string& text : texts) {
      Number(static_cast<std::uint32_t>(text.size()));
      bytes_ += text;
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Reads what Packer wrote; after a read past the end, `ok` is false and every value is zero.
class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : rest_(bytes) {}

  template <class T>
  T Number() {
    T value{};
    if (rest_.size() < sizeof(value)) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof(value));
    rest_.remove_prefix(sizeof(value));
    return value;
  }
  std::vector<std::string> Texts() {
    std::vector<std::string> texts;
    for (auto count = Number<std::uint32_t>(); ok_ && count > 0; --count) {
      const auto size = Number<std::uint32_t>();
      if (!ok_ || size > rest_.size()) {
        ok_ = false;
        break;
      }
      texts.emplace_back(rest_.substr(0, size));
      rest_.remove_prefix(size);
    }
    return texts;
  }
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

struct Packet {
  std::string bytes;
  std::vector<process::FileDescriptor> descriptors;
};

absl::Status SendPacket(int socket, const std::string& bytes, const std::vector<int>& descriptors) {
  if (bytes.size() > kMaxPacketBytes) {
    return absl::InvalidArgumentError("a trainer's arguments and environment are over 160 KiB: shorten them");
  }
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(sizeof(int) * descriptors.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(header), descriptors.data(), sizeof(int) * descriptors.size());
  }
  while (::sendmsg(socket, &message, MSG_NOSIGNAL) < 0) {
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET) return absl::OutOfRangeError("the launcher's socket is closed");
    return absl::ErrnoToStatus(errno, "sending on the launcher's socket");
  }
  return absl::OkStatus();
}

absl::StatusOr<Packet> ReceivePacket(int socket, bool wait) {
  Packet packet;
  packet.bytes.resize(kMaxPacketBytes);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t size = 0;
  while ((size = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT))) < 0) {
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return absl::UnavailableError("nothing is there");
    if (errno == ECONNRESET) return absl::OutOfRangeError("the launcher's socket is closed");
    return absl::ErrnoToStatus(errno, "receiving on the launcher's socket");
  }
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      packet.descriptors.emplace_back(fd);
    }
  }
  if (size == 0) return absl::OutOfRangeError("the launcher's socket is closed");
  packet.bytes.resize(static_cast<std::size_t>(size));
  return packet;
}

absl::Status Garbled() { return absl::InternalError("a message on the launcher's socket can't be read"); }

}  // namespace

absl::Status Send(int socket, const LauncherRequest& request) {
  if (const auto* start = std::get_if<StartProcess>(&request)) {
    Packer packer(Kind::kStart);
    packer.Number(start->id);
    packer.Texts(start->arguments);
    packer.Texts(start->environment);
    return SendPacket(socket, packer.bytes(), {});
  }
  const auto& signal = std::get<SignalProcess>(request);
  Packer packer(Kind::kSignal);
  packer.Number(signal.id);
  packer.Number(signal.signal);
  return SendPacket(socket, packer.bytes(), {});
}

absl::Status Send(int socket, const LauncherEvent& event) {
  if (const auto* started = std::get_if<ProcessStarted>(&event)) {
    Packer packer(Kind::kStarted);
    packer.Number(started->id);
    packer.Number(started->pid);
    return SendPacket(socket, packer.bytes(), {started->frames.get(), started->out.get(), started->err.get()});
  }
  if (const auto* failed = std::get_if<ProcessNotStarted>(&event)) {
    Packer packer(Kind::kNotStarted);
    packer.Number(failed->id);
    packer.Number(failed->error);
    return SendPacket(socket, packer.bytes(), {});
  }
  const auto& ended = std::get<ProcessEnded>(event);
  Packer packer(Kind::kEnded);
  packer.Number(ended.id);
  packer.Number(ended.wait_status);
  packer.Number(ended.out_of_memory);
  return SendPacket(socket, packer.bytes(), {});
}

absl::StatusOr<LauncherRequest> ReceiveRequest(int socket, bool wait) {
  absl::StatusOr<Packet> packet = ReceivePacket(socket, wait);
  if (!packet.ok()) return packet.status();
  Unpacker unpacker(packet->bytes);
  LauncherRequest request;
  switch (static_cast<Kind>(unpacker.Number<std::uint32_t>())) {
    case Kind::kStart: {
      StartProcess start;
      start.id = unpacker.Number<std::uint64_t>();
      start.arguments = unpacker.Texts();
      start.environment = unpacker.Texts();
      if (start.arguments.empty()) return Garbled();
      request = std::move(start);
      break;
    }
    case Kind::kSignal: {
      SignalProcess signal;
      signal.id = unpacker.Number<std::uint64_t>();
      signal.signal = unpacker.Number<int>();
      request = signal;
      break;
    }
    default:
      return Garbled();
  }
  if (!unpacker.ok()) return Garbled();
  return request;
}

absl::StatusOr<LauncherEvent> ReceiveEvent(int socket, bool wait) {
  absl::StatusOr<Packet> packet = ReceivePacket(socket, wait);
  if (!packet.ok()) return packet.status();
  Unpacker unpacker(packet->bytes);
  LauncherEvent event;
  switch (static_cast<Kind>(unpacker.Number<std::uint32_t>())) {
    case Kind::kStarted: {
      ProcessStarted started;
      started.id = unpacker.Number<std::uint64_t>();
      started.pid = unpacker.Number<pid_t>();
      if (packet->descriptors.size() != kMaxDescriptors) return Garbled();
      started.frames = std::move(packet->descriptors[0]);
      started.out = std::move(packet->descriptors[1]);
      started.err = std::move(packet->descriptors[2]);
      event = std::move(started);
      break;
    }
    case Kind::kNotStarted: {
      ProcessNotStarted failed;
      failed.id = unpacker.Number<std::uint64_t>();
      failed.error = unpacker.Number<int>();
      event = failed;
      break;
    }
    case Kind::kEnded: {
      ProcessEnded ended;
      ended.id = unpacker.Number<std::uint64_t>();
      ended.wait_status = unpacker.Number<int>();
      ended.out_of_memory = unpacker.Number<bool>();
      event = ended;
      break;
    }
    default:
      return Garbled();
  }
  if (!unpacker.ok()) return Garbled();
  return event;
}

}  // namespace mantissa::agent
