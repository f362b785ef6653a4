// What an operator can set.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "process/settings.h"

namespace mantissa::server {

struct ServerOptions {
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9464";
  std::string data_dir = "./mantissa-data";
  // A PostgreSQL database, as libpq takes it; empty: SQLite in data_dir. Servers on one database share data_dir, too.
  std::string postgres;
  // Gets the bound addresses, API first, then metrics, one a line.
  std::string address_file;
  bool insecure_allow_remote = false;

  std::chrono::milliseconds lease{30'000};
  std::chrono::milliseconds next_call{5'000};
  std::chrono::milliseconds disconnect_grace{600'000};
  std::int64_t max_queued_jobs = 1'000'000;
  std::chrono::milliseconds priority_worth{600'000};
  std::chrono::milliseconds reserve_after{120'000};
  // 1001, above every priority: nobody.
  std::int64_t preempting_priority = 1'001;
  // Of jobs that have ended; 0: for ever, and however many.
  std::chrono::milliseconds retention_time{0};
  std::int64_t retention_jobs = 0;
  std::chrono::milliseconds drain_timeout{5'000};

  std::string log_format = "auto";
  std::string log_level = "info";
};

// One setting for each option; `options` holds the defaults and is written by Settings::Load.
std::vector<process::Setting> DeclareSettings(ServerOptions& options);

// What can't be said of one setting alone: INVALID_ARGUMENT for addresses that are none or that anybody on the network
// could reach without `insecure_allow_remote`, and for a lease that a few lost calls would end.
absl::Status CheckOptions(const ServerOptions& options);

}  // namespace mantissa::server
