#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "process/clock.h"
#include "server/rpc/access/inbound_connections.h"

namespace mantissa::server {

struct FloodJudgeOptions {
  std::int64_t most_growth_bytes = std::int64_t{96} << 20;    // of the process within one to two windows
  std::int64_t least_received_bytes = std::int64_t{2} << 20;  // of a connection that has a part in it, likewise
  // Of the growth, what has been received from all connections together: messages that are kept until they are whole
  // take about the room that they take on the wire. Where less has come in, it is the work of something else.
  double least_received_share = 0.25;
  std::chrono::milliseconds window = std::chrono::seconds(60);
};

// Decides whether memory grows because of what is sent to us, and by whom (Note [Floods]). Looks back over the window
// that runs and the one before it. Pure; not thread-safe.
class FloodJudge {
 public:
  explicit FloodJudge(FloodJudgeOptions options) : options_(options) {}

  // True where a window begins: Begin() is due.
  bool IsDue(process::SteadyTime now) const { return !began_ || now - *began_ >= options_.window; }
  void Begin(process::SteadyTime now, const std::vector<InboundConnection>& connections);

  // By how much the process' memory, as it is seen from time to time, has grown; 0 where that is no more than it may.
  std::int64_t Growth(std::int64_t resident_bytes);

  // The connection that has received the most meanwhile; none where what comes in does not explain the growth, or
  // nobody has a part in it.
  std::optional<InboundConnection> WhoSends(const std::vector<InboundConnection>& connections,
                                            std::int64_t growth_bytes) const;

 private:
  std::int64_t ReceivedMeanwhile(const InboundConnection& connection) const;

  struct Window {
    std::optional<std::int64_t> least_resident;
    std::unordered_map<std::string, std::int64_t> received;  // by peer, as it began
  };

  const FloodJudgeOptions options_;
  std::optional<process::SteadyTime> began_;
  std::array<Window, 2> windows_;  // the one before, and the one that runs
};

}  // namespace mantissa::server
