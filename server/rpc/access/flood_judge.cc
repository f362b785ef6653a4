#include "server/rpc/access/flood_judge.h"

#include <algorithm>
#include <utility>

namespace mantissa::server {

void FloodJudge::Begin(process::SteadyTime now, const std::vector<InboundConnection>& connections) {
  began_ = now;
  windows_[0] = std::exchange(windows_[1], {});
  for (const InboundConnection& connection : connections) {
    windows_[1].received[connection.peer] = connection.received_bytes;
  }
}

bool FloodJudge::Grows(std::int64_t resident_bytes) {
  std::optional<std::int64_t>& least = windows_[1].least_resident;
  least = std::min(least.value_or(resident_bytes), resident_bytes);
  const std::int64_t before = windows_[0].least_resident.value_or(*least);
  return resident_bytes - std::min(*least, before) > options_.most_growth_bytes;
}

std::optional<InboundConnection> FloodJudge::WhoSends(const std::vector<InboundConnection>& connections) const {
  std::optional<InboundConnection> most;
  std::int64_t most_bytes = options_.least_received_bytes - 1;
  for (const InboundConnection& connection : connections) {
    std::int64_t before = 0;  // of a connection that is younger than both windows
    for (const Window& window : windows_) {
      const auto found = window.received.find(connection.peer);
      if (found == window.received.end()) continue;
      before = found->second;
      break;
    }
    // Fewer bytes than were seen before are those of another connection from the same port.
    const std::int64_t bytes = connection.received_bytes - (before <= connection.received_bytes ? before : 0);
    if (bytes <= most_bytes) continue;
    most = connection;
    most_bytes = bytes;
  }
  return most;
}

}  // namespace mantissa::server
