#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace mantissa::server {

// A TCP connection that somebody else opened to this process.
struct InboundConnection {
  int descriptor = -1;              // of whoever accepted it, and closed by him
  int port = 0;                     // of ours, by which it came in
  std::string peer;                 // address:port, IPv6 in brackets; IPv4 as such, whatever the socket is
  std::int64_t received_bytes = 0;  // since it was opened
};

// Those that came in by one of `ports`, as the kernel knows them; a look costs a few system calls for every open
// descriptor. Thread-safe.
std::vector<InboundConnection> ListInboundConnections(const std::vector<int>& ports);

// Ends one, as if its peer had reset it: whoever reads from it reads no more of what has come, but ECONNRESET. False
// where it has ended meanwhile, whatever its descriptor is by now. Thread-safe.
bool EndConnection(const InboundConnection& connection);

}  // namespace mantissa::server
