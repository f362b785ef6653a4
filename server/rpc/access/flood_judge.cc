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

std::int64_t FloodJudge::Growth(std::int64_t resident_bytes) {
  std::optional<std::int64_t>& least = windows_[1].least_resident;
  least = std::min(least.value_or(resident_bytes), resident_bytes);
  const std::int64_t before = windows_[0].least_resident.value_or(*least);
  const std::int64_t growth = resident_bytes - std::min(*least, before);
  return growth > options_.most_growth_bytes ? growth : 0;
}

std::int64_t FloodJudge::ReceivedMeanwhile(const InboundConnection& connection) const {
  for (const Window& window : windows_) {
    const auto before = window.received.find(connection.peer);
    if (before == window.received.end()) continue;
    // Fewer bytes than were seen before are those of another connection from the same port.
    if (before->second <= connection.received_bytes) return connection.received_bytes - before->second;
    break;
  }
  return connection.received_bytes;
}

std::optional<InboundConnection> FloodJudge::WhoSends(const std::vector<InboundConnection>& connections,
                                                      std::int64_t growth_bytes) const {
  std::optional<InboundConnection> most;
  std::int64_t most_bytes = options_.least_received_bytes - 1;
  std::int64_t all_bytes = 0;
  for (const InboundConnection& connection : connections) {
    const std::int64_t bytes = ReceivedMeanwhile(connection);
    all_bytes += bytes;
    if (bytes <= most_bytes) continue;
    most = connection;
    most_bytes = bytes;
  }
  if (static_cast<double>(all_bytes) < options_.least_received_share * static_cast<double>(growth_bytes)) return {};
  return most;
}

}  // namespace mantissa::server
