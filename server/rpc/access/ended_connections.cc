#include "server/rpc/access/ended_connections.h"

#include <chrono>

#include "process/log.h"

namespace mantissa::server {
namespace {

constexpr std::chrono::seconds kLogInterval{1};

}  // namespace

void EndedConnections::Add(process::SteadyTime now, const std::string& peer) {
  metrics_.ended_connections.Increment();
  ++ended_;
  if (now < next_log_) return;
  process::Log(process::Level::kWarning, why_, {{"peer", peer}, {"connections", ended_}});
  ended_ = 0;
  next_log_ = now + kLogInterval;
}

}  // namespace mantissa::server
