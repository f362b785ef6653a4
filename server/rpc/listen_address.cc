#include "server/rpc/listen_address.h"

#include <arpa/inet.h>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <sys/socket.h>

#include "process/file_descriptor.h"

namespace mantissa::server {

bool ListenAddress::IsLoopback() const {
  if (host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (inet_pton(AF_INET6, host.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6);
  return false;
}

std::string ListenAddress::WithPort(int other_port) const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(other_port);
}

absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text) {
  const auto wrong = [&text] {
    return absl::InvalidArgumentError("\"" + std::string(text) +
                                      "\" is not an address to listen on: write host:port, e.g. 127.0.0.1:50051 or "
                                      "[::1]:50051");
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return wrong();
  }
  ListenAddress address{std::string(host), 0};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (error != std::errc() || end != digits.data() + digits.size() || address.port < 0 || address.port > 65535 ||
      host.empty()) {
    return wrong();
  }
  return address;
}

absl::Status WhyNotBound(const ListenAddress& address) {
  const std::string shown = address.WithPort(address.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int looked_up = getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found);
  if (looked_up != 0) {
    return absl::UnavailableError("can't listen on " + shown + ": " + gai_strerror(looked_up));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
  const process::FileDescriptor socket(::socket(found->ai_family, found->ai_socktype | SOCK_CLOEXEC, 0));
  // As gRPC sets it, so that connections that linger are not taken for a server.
  const int on = 1;
  setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int error = ::bind(socket.get(), found->ai_addr, found->ai_addrlen) == 0 ? 0 : errno;
  if (error == EADDRINUSE) {
    return absl::UnavailableError("can't listen on " + shown +
                                  ": another program does already (another mantissa-server?); stop it, or choose "
                                  "another port");
  }
  // A port that only now is free was taken a moment ago.
  const char* const why = error == 0 ? "it was in use" : strerrordesc_np(error);
  return absl::UnavailableError("can't listen on " + shown + ": " + why);
}

}  // namespace mantissa::server
