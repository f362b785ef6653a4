#pragma once

#include <string>
#include <utility>

#include "absl/status/status.h"

#include "process/clock.h"

namespace mantissa::agent {

// Tells the log of the connection to the server: when it stands, and why it does not, the latter once a minute while it
// lasts. Not thread-safe.
class ConnectionLog {
 public:
  ConnectionLog(std::string server, std::string worker_id)
      : server_(std::move(server)), worker_id_(std::move(worker_id)) {}

  // After each call that counts.
  void Answered();
  void Failed(const absl::Status& failure, process::SteadyTime now);

 private:
  const std::string server_;
  const std::string worker_id_;
  bool connected_ = false;
  process::SteadyTime said_at_ = process::SteadyTime::min();  // of this outage
};

}  // namespace mantissa::agent
