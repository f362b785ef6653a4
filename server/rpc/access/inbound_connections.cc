#include "server/rpc/access/inbound_connections.h"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <memory>
#include <netinet/in.h>
#include <optional>
#include <string_view>
#include <sys/socket.h>

#include "process/file_descriptor.h"

namespace mantissa::server {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// What getsockname and getpeername fill in.
struct Address {
  sockaddr_storage storage{};

  int port() const {
    if (storage.ss_family == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port);
    if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<const sockaddr_in6&>(storage).sin6_port);
    return 0;
  }

  std::string text() const {
    char host[INET6_ADDRSTRLEN] = "";
    const in6_addr& long_address = reinterpret_cast<const sockaddr_in6&>(storage).sin6_addr;
    const in_addr& short_address = reinterpret_cast<const sockaddr_in&>(storage).sin_addr;
    // A socket that takes both kinds has IPv4 addresses as the last four bytes of IPv6 ones.
    const bool mapped = storage.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&long_address);
    const bool six = storage.ss_family == AF_INET6 && !mapped;
    const void* const bytes = six      ? static_cast<const void*>(&long_address)
                              : mapped ? static_cast<const void*>(&long_address.s6_addr[12])
                                       : &short_address;
    if (::inet_ntop(six ? AF_INET6 : AF_INET, bytes, host, sizeof(host)) == nullptr) return "";
    return (six ? "[" + std::string(host) + "]" : host) + ":" + std::to_string(port());
  }
};

template <typename Ask>
std::optional<Address> AddressOf(Ask ask, int descriptor) {
  Address address;
  socklen_t size = sizeof(address.storage);
  if (ask(descriptor, reinterpret_cast<sockaddr*>(&address.storage), &size) != 0 || address.port() == 0) {
    return std::nullopt;
  }
  return address;
}

std::optional<InboundConnection> Look(int descriptor, const std::vector<int>& ports) {
  const std::optional<Address> here = AddressOf(::getsockname, descriptor);
  if (!here || std::find(ports.begin(), ports.end(), here->port()) == ports.end()) return std::nullopt;
  const std::optional<Address> there = AddressOf(::getpeername, descriptor);
  if (!there) return std::nullopt;  // it listens
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return std::nullopt;
  return InboundConnection{descriptor, here->port(), there->text(),
                           static_cast<std::int64_t>(info.tcpi_bytes_received)};
}

}  // namespace

std::vector<InboundConnection> ListInboundConnections(const std::vector<int>& ports) {
  std::vector<InboundConnection> connections;
  const std::unique_ptr<DIR, CloseFolder> folder(::opendir("/proc/self/fd"));
  if (!folder) return connections;
  while (const dirent* const entry = ::readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    int descriptor = -1;
    if (std::from_chars(name.data(), name.data() + name.size(), descriptor).ec != std::errc{}) continue;
    if (std::optional<InboundConnection> connection = Look(descriptor, ports)) {
      connections.push_back(*std::move(connection));
    }
  }
  return connections;
}

bool EndConnection(const InboundConnection& connection) {
  // A descriptor of our own holds what it stands for, so that nothing else can be meant by it after the look.
  const process::FileDescriptor held(::fcntl(connection.descriptor, F_DUPFD_CLOEXEC, 0));
  if (!held.valid()) return false;
  const std::optional<InboundConnection> found = Look(held.get(), {connection.port});
  if (!found || found->peer != connection.peer) return false;
  // Into a socket without a peer: what is on its way, either way, is dropped, and the peer is sent a reset. After
  // shutdown() whoever reads from it would first read all that has come, and a peer whose window is shut hear nothing.
  const sockaddr nobody{.sa_family = AF_UNSPEC, .sa_data = {}};
  return ::connect(held.get(), &nobody, sizeof(nobody)) == 0;
}

}  // namespace mantissa::server
