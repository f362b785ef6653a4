#include "server/rpc/access/reset_judge.h"

#include <arpa/inet.h>
#include <cstring>
#include <utility>

namespace mantissa::server {

std::string AddressOfPeer(const std::string& peer) {
  const std::string host = peer.substr(0, peer.rfind(':'));
  if (!host.starts_with('[')) return host;
  in6_addr address{};
  if (::inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address) != 1) return host;
  constexpr std::size_t kNetworkBytes = 8;
  std::memset(&address.s6_addr[kNetworkBytes], 0, sizeof(address) - kNetworkBytes);
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(AF_INET6, &address, text, sizeof(text));
  return text;
}

void ResetJudge::Count(const std::vector<StreamCounts>& connections) {
  std::unordered_map<std::string, StreamCounts> seen;
  for (const StreamCounts& now : connections) {
    const auto found = seen_.find(now.peer);
    StreamCounts before;
    if (found != seen_.end()) before = found->second;
    // Fewer streams than were seen before are those of another connection from the same port.
    if (before.begun > now.begun) {
      before = {};
      HasGone(now.peer);
    }
    const std::int64_t begun = now.begun - before.begun;
    const std::int64_t unanswered = begun - (now.answered - before.answered);
    Tally& tally = windows_[1].of_peer[now.peer];
    tally.begun += begun;
    tally.unanswered += unanswered;
    windows_[1].of_address[AddressOfPeer(now.peer)] += unanswered;
    seen[now.peer] = now;
  }
  for (const auto& [peer, counts] : seen_) {
    if (!seen.contains(peer)) HasGone(peer);
  }
  seen_ = std::move(seen);
}

void ResetJudge::HasGone(const std::string& peer) {
  windows_[1].of_gone[AddressOfPeer(peer)] += OfPeer(peer).unanswered;
  for (Window& window : windows_) window.of_peer.erase(peer);
}

ResetJudge::Tally ResetJudge::OfPeer(const std::string& peer) const {
  Tally all;
  for (const Window& window : windows_) {
    const auto found = window.of_peer.find(peer);
    if (found == window.of_peer.end()) continue;
    all.begun += found->second.begun;
    all.unanswered += found->second.unanswered;
  }
  return all;
}

std::int64_t ResetJudge::Sum(std::unordered_map<std::string, std::int64_t> Window::*counts,
                             const std::string& address) const {
  std::int64_t sum = 0;
  for (const Window& window : windows_) {
    const auto found = (window.*counts).find(address);
    if (found != (window.*counts).end()) sum += found->second;
  }
  return sum;
}

bool ResetJudge::Resets(const std::string& peer) const {
  if (Sum(&Window::of_address, AddressOfPeer(peer)) <= options_.most_of_address) return false;
  const Tally tally = OfPeer(peer);
  if (tally.unanswered <= options_.most_of_connection) return false;
  return static_cast<double>(tally.unanswered) > options_.most_share * static_cast<double>(tally.begun);
}

std::vector<std::string> ResetJudge::WhoResets(process::SteadyTime now, const std::vector<StreamCounts>& connections) {
  if (!began_ || now - *began_ >= options_.window) {
    // Where nobody has looked for longer, what was counted before is too old.
    const bool lately = began_ && now - *began_ < 2 * options_.window;
    windows_[0] = lately ? std::move(windows_[1]) : Window();
    windows_[1] = {};
    began_ = now;
  }
  Count(connections);
  std::vector<std::string> peers;
  for (const StreamCounts& connection : connections) {
    if (Resets(connection.peer)) peers.push_back(connection.peer);
  }
  for (const std::string& peer : peers) {
    BarAddress(now, AddressOfPeer(peer), connections);
    bars_[AddressOfPeer(peer)].may_stay.erase(peer);
  }
  for (const Window& window : windows_) {
    for (const auto& [address, gone] : window.of_gone) {
      if (Sum(&Window::of_gone, address) > options_.most_of_address) BarAddress(now, address, connections);
    }
  }
  return peers;
}

void ResetJudge::BarAddress(process::SteadyTime now, const std::string& address,
                            const std::vector<StreamCounts>& connections) {
  const bool barred = Bars(now) && bars_.contains(address);
  Bar& bar = bars_[address];
  bar.until = now + options_.barred_for;
  if (barred) return;
  for (const StreamCounts& connection : connections) {
    if (AddressOfPeer(connection.peer) == address) bar.may_stay.insert(connection.peer);
  }
}

bool ResetJudge::Bars(process::SteadyTime now) {
  std::erase_if(bars_, [now](const auto& bar) { return now >= bar.second.until; });
  return !bars_.empty();
}

bool ResetJudge::IsBarred(process::SteadyTime now, const std::string& peer) const {
  const auto found = bars_.find(AddressOfPeer(peer));
  return found != bars_.end() && now < found->second.until && !found->second.may_stay.contains(peer);
}

}  // namespace mantissa::server
