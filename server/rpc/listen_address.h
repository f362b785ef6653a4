// Where a server listens.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace mantissa::server {

struct ListenAddress {
  std::string host;  // a name or an address; IPv6 without brackets
  int port = 0;

  // Nobody outside this machine can reach it.
  bool IsLoopback() const;
  // host:port, IPv6 in brackets.
  std::string WithPort(int other_port) const;
};

// `host:port` or `[IPv6]:port`, port 0 to 65535.
absl::StatusOr<ListenAddress> ParseListenAddress(std::string_view text);

// Tries to bind, and says what is in the way: taken, not allowed, not an address of this machine. UNAVAILABLE.
absl::Status WhyNotBound(const ListenAddress& address);

}  // namespace mantissa::server
