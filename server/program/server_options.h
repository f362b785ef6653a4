// What an operator can set.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "process/settings.h"
#include "process/tls_files.h"

namespace mantissa::server {

struct ServerOptions {
  std::string listen = "127.0.0.1:50051";
  std::string metrics_listen = "127.0.0.1:9464";
  std::string health_listen;  // clear text, health only; empty: none
  std::string data_dir = "./mantissa-data";
  // A PostgreSQL database, as libpq takes it; empty: SQLite in data_dir. Servers on one database share data_dir, too.
  std::string postgres;
  // Gets the bound addresses, API first, then metrics, one a line.
  std::string address_file;
  bool insecure_allow_remote = false;
  // PEM files of the API's certificate, its key, and the CA of client certificates; empty: none.
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_client_ca;
  // Who may show which token (process/access_token.h); empty: none may.
  std::string tokens;

  std::chrono::milliseconds lease{30'000};
  std::chrono::milliseconds next_call{5'000};
  std::chrono::milliseconds disconnect_grace{600'000};
  std::int64_t max_queued_jobs = 1'000'000;
  // Of each tenant. Calls a second only where callers say who they are; 0: any number.
  std::int64_t tenant_max_queued_jobs = 1'000'000;
  std::int64_t tenant_calls_per_second = 1'000;
  std::int64_t tenant_max_streams = 2'000;
  std::chrono::milliseconds priority_worth{600'000};
  std::chrono::milliseconds reserve_after{120'000};
  // 1001, above every priority: nobody.
  std::int64_t preempting_priority = 1'001;
  // Of jobs that have ended; 0: for ever, and however many.
  std::chrono::milliseconds retention_time{0};
  std::int64_t retention_jobs = 0;
  // Of each job, the newest; 0: all.
  std::int64_t telemetry_full_records = 10'000'000;
  std::chrono::milliseconds drain_timeout{5'000};

  std::string log_format = "auto";
  std::string log_level = "info";
};

// One setting for each option; `options` holds the defaults and is written by Settings::Load.
std::vector<process::Setting> DeclareSettings(ServerOptions& options);

// Callers have to say who they are.
bool Authenticates(const ServerOptions& options);
process::TlsFiles TlsFilesOf(const ServerOptions& options);

// What can't be said of one setting alone: INVALID_ARGUMENT for addresses that are none or that anybody on the network
// could use without `insecure_allow_remote`, for settings of TLS that don't go together, and for a lease that a few
// lost calls would end.
absl::Status CheckOptions(const ServerOptions& options);

}  // namespace mantissa::server
