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

  // Of the process' memory, as it is seen from time to time.
  bool Grows(std::int64_t resident_bytes);

  // The connection that has received the most meanwhile; none where nobody has a part in it.
  std::optional<InboundConnection> WhoSends(const std::vector<InboundConnection>& connections) const;

 private:
  struct Window {
    std::optional<std::int64_t> least_resident;
    std::unordered_map<std::string, std::int64_t> received;  // by peer, as it began
  };

  const FloodJudgeOptions options_;
  std::optional<process::SteadyTime> began_;
  std::array<Window, 2> windows_;  // the one before, and the one that runs
};

}  // namespace mantissa::server
