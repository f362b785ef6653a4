#include "server/rpc/access/flood_guard.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <malloc.h>
#include <optional>
#include <string>
#include <vector>

#include "process/log.h"
#include "process/process_figures.h"

// jemalloc's, where the program is linked with it.
extern "C" int mallctl(const char* name, void* old_value, std::size_t* old_size, void* new_value, std::size_t new_size)
    __attribute__((weak));

namespace mantissa::server {
namespace {

// In which a fast sender fills some 20 MiB.
constexpr std::chrono::milliseconds kInterval{20};
// While an address is barred, so that who comes from there has no time to send much. A TLS handshake takes about as
// long.
constexpr std::chrono::milliseconds kBarredInterval{1};

// Allocators keep for a while what has been freed. 4096 stands for all arenas (jemalloc(3), MALLCTL_ARENAS_ALL).
void ReturnFreedMemory() {
  if (mallctl == nullptr || mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0) != 0) ::malloc_trim(0);
}

}  // namespace

// Note [Floods]
//
// gRPC 1.51 looks at the size of a message when all of it has come, and lets each stream send on until then: a hundred
// streams on one connection, each with a message that is never finished, are a hundred buffers that grow as fast as the
// peer can send. Where they reach the transport's quota, gRPC ends one stream after the other, whosever it is, and is
// slower at that than a peer on a good network at sending. No call of ours is asked meanwhile: each begins with its
// first message. So the kernel is asked who sends that much, and his connection is ended while there is still room. Who
// sends a great deal for good reasons, an artifact, keeps no memory of ours and is met only beside a flood; he tries
// again. Where memory grows and little comes in (a large answer, a cache that fills), nobody is met.

FloodGuard::FloodGuard(const std::vector<int>& ports, const process::Clock& clock, ServerMetrics& metrics)
    : ports_(ports),
      clock_(clock),
      metrics_(metrics),
      resets_(ports, metrics),
      crowds_(ports, metrics),
      thread_([this] {
        const process::SteadyTime now = clock_.Now();
        if (now >= next_memory_look_) LookAtMemory(now);
        resets_.Look(now);
        crowds_.Look(now);
        return resets_.Bars(now) ? kBarredInterval : kInterval;
      }) {}

void FloodGuard::LookAtMemory(process::SteadyTime now) {
  next_memory_look_ = now + kInterval;
  if (judge_.IsDue(now)) judge_.Begin(now, ListInboundConnections(ports_));
  const std::int64_t growth = judge_.Growth(process::ResidentBytes());
  if (growth == 0) return;
  const std::optional<InboundConnection> sender = judge_.WhoSends(ListInboundConnections(ports_), growth);
  if (!sender) return;
  ReturnFreedMemory();
  if (judge_.Growth(process::ResidentBytes()) == 0 || !EndConnection(*sender)) return;
  metrics_.ended_connections.Increment();
  process::Log(process::Level::kWarning, "memory ran short and the connection that sent most was ended",
               {{"peer", sender->peer}, {"received_bytes", std::to_string(sender->received_bytes)}});
}

}  // namespace mantissa::server
