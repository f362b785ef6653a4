#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "process/clock.h"
#include "server/rpc/access/stream_counts.h"

namespace mantissa::server {

// What may stay without an answer within one to two windows, and what becomes of who leaves more (Note [Resets]).
struct ResetJudgeOptions {
  std::int64_t most_of_address = 2'000;
  std::int64_t most_of_connection = 100;
  double most_share = 0.5;  // of the streams that a connection opened meanwhile
  std::chrono::milliseconds window = std::chrono::seconds(1);
  std::chrono::milliseconds barred_for = std::chrono::seconds(10);
};

// Decides which connections open streams only to reset them, and whose new connections are not wanted after that. Looks
// back over the window that runs and the one before it. Pure; not thread-safe.
class ResetJudge {
 public:
  explicit ResetJudge(ResetJudgeOptions options) : options_(options) {}

  // The peers of those to end, of all connections that there are. Bars their addresses, and those from which as much
  // came by connections that went before they had sent enough to be ended.
  std::vector<std::string> WhoResets(process::SteadyTime now, const std::vector<StreamCounts>& connections);

  // Whether any address is barred.
  bool Bars(process::SteadyTime now);

  // Whether `peer` came by a new connection from an address that is barred.
  bool IsBarred(process::SteadyTime now, const std::string& peer) const;

 private:
  struct Tally {
    std::int64_t begun = 0;
    std::int64_t unanswered = 0;  // of those; below 0 where older ones were answered
  };
  struct Window {
    std::unordered_map<std::string, Tally> of_peer;
    // Unanswered: of all connections, and of those alone that have gone, as far as they came within the windows.
    std::unordered_map<std::string, std::int64_t> of_address, of_gone;
  };
  struct Bar {
    process::SteadyTime until;
    std::unordered_set<std::string> may_stay;  // peers that were connected when it began and did no harm
  };

  void Count(const std::vector<StreamCounts>& connections);
  void HasGone(const std::string& peer);
  Tally OfPeer(const std::string& peer) const;
  std::int64_t Sum(std::unordered_map<std::string, std::int64_t> Window::*counts, const std::string& address) const;
  bool Resets(const std::string& peer) const;
  void BarAddress(process::SteadyTime now, const std::string& address, const std::vector<StreamCounts>& connections);

  const ResetJudgeOptions options_;
  std::optional<process::SteadyTime> began_;
  std::array<Window, 2> windows_;                       // the one before, and the one that runs
  std::unordered_map<std::string, StreamCounts> seen_;  // by peer, at the last look
  std::unordered_map<std::string, Bar> bars_;           // by address
};

// What all that one machine opens has in common: of "10.0.0.1:50000" the address, of IPv6 the 64 bits of its network,
// in which it takes what addresses it likes.
std::string AddressOfPeer(const std::string& peer);

}  // namespace mantissa::server
