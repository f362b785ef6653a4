#include "worker/agent/link/connection_log.h"

#include <chrono>

#include "process/log.h"

namespace mantissa::agent {
namespace {

using process::Level;
using process::Log;
using process::SteadyTime;

constexpr std::chrono::milliseconds kSayAgain{60'000};

}  // namespace

void ConnectionLog::Answered() {
  if (std::exchange(connected_, true)) return;
  Log(Level::kInfo, "connected", {{"server", server_}, {"worker", worker_id_}});
  said_at_ = SteadyTime::min();
}

void ConnectionLog::Failed(const absl::Status& failure, SteadyTime now) {
  connected_ = false;
  if (said_at_ != SteadyTime::min() && now < said_at_ + kSayAgain) return;
  said_at_ = now;
  if (absl::IsUnauthenticated(failure) || absl::IsPermissionDenied(failure)) {
    Log(Level::kError, "the server does not let this worker in; running attempts go on, and it is tried again",
        {{"server", server_},
         {"remedy", "give --tls-certificate for spiffe://mantissa/worker/" + worker_id_ + ", and its --tls-key"},
         {"error", failure}});
    return;
  }
  Log(Level::kWarning, "the server can't be reached; running attempts go on, and it is tried again until it answers",
      {{"server", server_}, {"remedy", "start mantissa-server, or correct --server"}, {"error", failure}});
}

}  // namespace mantissa::agent
