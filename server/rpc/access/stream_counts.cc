#include "server/rpc/access/stream_counts.h"

#include <charconv>
#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "grpc/grpc.h"
#include "grpc/support/alloc.h"

namespace mantissa::server {
namespace {

// channelz answers in JSON that has the form of channelz.proto: numbers as strings, nothing that is 0, no spaces. What
// is looked for is no more than a few numbers and names, none of which a peer can choose, and to parse the whole takes
// four times as long as to ask for it.
struct Freed {
  void operator()(char* text) const { ::gpr_free(text); }
};
using Json = std::unique_ptr<char, Freed>;

// The string behind `"key":"`; empty where there is none.
std::string_view TextOf(std::string_view json, std::string_view key) {
  const std::string begin = absl::StrCat("\"", absl::string_view(key.data(), key.size()), "\":\"");
  const std::size_t at = json.find(begin);
  if (at == std::string_view::npos) return {};
  json.remove_prefix(at + begin.size());
  return json.substr(0, json.find('"'));
}

std::int64_t NumberOf(std::string_view json, std::string_view key) {
  const std::string_view text = TextOf(json, key);
  std::int64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// From the name of a socket: "chttp2 ipv4:10.0.0.1:50000", "chttp2 ipv6:%5Bfe80::1%25eth0%5D:50000".
std::string PeerOfName(std::string_view name) {
  constexpr std::string_view kFour = " ipv4:", kOpen = " ipv6:%5B", kClose = "%5D";
  const std::size_t four = name.find(kFour);
  if (four != std::string_view::npos) return std::string(name.substr(four + kFour.size()));
  const std::size_t open = name.find(kOpen), close = name.find(kClose);
  if (open == std::string_view::npos || close == std::string_view::npos) return "";
  std::string_view host = name.substr(open + kOpen.size(), close - open - kOpen.size());
  host = host.substr(0, host.find('%'));  // the kernel names no zone
  return "[" + std::string(host) + "]" + std::string(name.substr(close + kClose.size()));
}

// Every page of `ask`, which is told where the page begins, cut into the parts that have a `key`. The ids in them grow.
void ForEach(std::string_view key, const std::function<Json(std::int64_t)>& ask,
             const std::function<void(std::int64_t id, std::string_view part)>& look) {
  const std::string begin = absl::StrCat("\"", absl::string_view(key.data(), key.size()), "\":\"");
  std::int64_t next = 0;
  while (true) {
    const Json page = ask(next);
    if (!page) return;
    const std::string_view all = page.get();
    std::string_view left = all;
    for (std::size_t at = left.find(begin); at != std::string_view::npos; at = left.find(begin)) {
      const std::size_t end = left.find('}', at);
      const std::string_view part = left.substr(0, end);
      const std::int64_t id = NumberOf(part, key);
      next = id + 1;
      look(id, part);
      left = end == std::string_view::npos ? std::string_view() : left.substr(end);
    }
    if (all.find("\"end\":true") != std::string_view::npos || left.size() == all.size()) return;
  }
}

Json Servers(std::int64_t from) { return Json(::grpc_channelz_get_servers(from)); }

}  // namespace

std::vector<StreamCounts> ListStreamCounts() {
  std::vector<StreamCounts> counts;
  ForEach("serverId", Servers, [&counts](std::int64_t server, std::string_view) {
    const auto sockets = [server](std::int64_t from) {
      return Json(::grpc_channelz_get_server_sockets(server, from, /*max_results=*/0));
    };
    ForEach("socketId", sockets, [&counts](std::int64_t socket, std::string_view part) {
      std::string peer = PeerOfName(TextOf(part, "name"));
      const Json json(::grpc_channelz_get_socket(socket));
      if (!json || peer.empty()) return;  // it has gone, or is none of the network
      counts.push_back(
          {std::move(peer), NumberOf(json.get(), "streamsStarted"), NumberOf(json.get(), "streamsSucceeded")});
    });
  });
  return counts;
}

std::int64_t CountCalls() {
  std::int64_t calls = 0;
  ForEach("serverId", Servers,
          [&calls](std::int64_t, std::string_view part) { calls += NumberOf(part, "callsStarted"); });
  return calls;
}

}  // namespace mantissa::server
