#include "server/rpc/access/reset_guard.h"

#include <algorithm>
#include <chrono>
#include <ctime>

#include "server/rpc/access/inbound_connections.h"
#include "server/rpc/access/stream_counts.h"

namespace mantissa::server {
namespace {

// Of the processor's time, looks take one part of so many at most: with a thousand connections one takes 12 ms.
constexpr int kLookShare = 50, kBarredLookShare = 10;
// While nobody is barred and few call: what a fast sender needs to reset some hundred streams. Asking costs an idle
// server.
constexpr std::chrono::milliseconds kInterval{50};
// Connections are looked at when so many calls have begun since the last time. What was older than the windows by then
// is taken for new, but is little beside what an address may reset.
constexpr std::int64_t kLeastCalls = ResetJudgeOptions().most_of_address / 4;

// Of this thread alone: where processors are short, a look takes longer than it works.
std::chrono::nanoseconds ProcessorTime() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace

// Note [Resets]
//
// A stream that is opened and reset at once costs its peer a hundred bytes and us a whole call, and frees its place
// among those that a connection may have open, so that no limit on these holds it back ("rapid reset", CVE-2023-44487).
// gRPC 1.51 has nothing against it, and does worse than lose time: one thread of its executor works off what a
// connection sends for as long as more of it comes, and whatever else falls to that thread waits; calls of others were
// seen to wait for all of a flood, 5 s. So the connection is ended. nghttp2 1.57 does that after a burst of 1,000
// resets and 33 a second from then on, Envoy 1.27.1 where of 500 streams or more half were reset early; nginx 1.25.3
// takes no more new streams at a time than twice those that a connection may have open. Ours is ended where, within one
// to two seconds,
// - from its address more than 2,000 streams came that had no answer. One client whose calls all end by a deadline of
//   1 ms, one after the other, does not come to that.
// - of these it has sent more than it may have open at once (100), so that some were reset. A dashboard that closes all
//   its watches resets none that is young, and opens no more anew than that; nor does an agent, or a hanging call.
// - they are more than half of all that it opened. Of a client that hedges, and of a proxy that carries many clients,
//   most calls are answered.
// Who is ended comes back at once, and would have sent as much again before he is found. So his address is barred for
// ten seconds: a connection that comes from there is ended before its handshake is over, most often, and those that
// were there and did no harm stay. Who shares the address, behind a proxy or NAT, can't connect anew meanwhile and
// tries again, as every client of gRPC's does by itself; who floods may send 2,000 streams every ten seconds.
//
// Barred is also an address from which as much came by connections that are no longer there: by a hundred streams on
// each, as far as they are seen before they go.
//
// gRPC's own counts are asked, because most of those streams never reach a handler.

void ResetGuard::Look(process::SteadyTime now) {
  if (now < next_look_) return;
  const std::chrono::nanoseconds began = ProcessorTime();
  const std::int64_t calls = CountCalls();
  const bool many = calls - calls_seen_ > kLeastCalls;
  std::vector<std::string> resetting;
  if (many) {
    calls_seen_ = calls;
    resetting = judge_.WhoResets(now, ListStreamCounts());
  }
  const bool bars = judge_.Bars(now);
  if (bars) End(now, resetting);
  const std::chrono::nanoseconds took = (bars ? kBarredLookShare : kLookShare) * (ProcessorTime() - began);
  next_look_ = now + (bars || many ? took : std::max<std::chrono::nanoseconds>(took, kInterval));
}

void ResetGuard::End(process::SteadyTime now, const std::vector<std::string>& resetting) {
  for (const InboundConnection& connection : ListInboundConnections(ports_)) {
    const bool resets = std::find(resetting.begin(), resetting.end(), connection.peer) != resetting.end();
    if (!resets && !judge_.IsBarred(now, connection.peer)) continue;
    if (EndConnection(connection)) ended_.Add(now, connection.peer);
  }
}

}  // namespace mantissa::server
