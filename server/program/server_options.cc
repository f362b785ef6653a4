#include "server/program/server_options.h"

#include <limits>

#include "process/text_value.h"
#include "server/rpc/listen_address.h"

namespace mantissa::server {

std::vector<process::Setting> DeclareSettings(ServerOptions& options) {
  return {
      {"listen", "Address of the API, host:port; port 0 takes a free one.", &options.listen},
      {"metrics-listen", "Address of /metrics, host:port; empty for none.", &options.metrics_listen},
      {"data-dir", "Folder of the database, logs and artifacts; made when missing.", &options.data_dir},
      {"postgres",
       "Keep jobs in this PostgreSQL database (postgresql://user@host/name), so that a second server may stand by; a "
       "password belongs into PGPASSWORD or ~/.pgpass. Logs and artifacts stay in data-dir, which all of them reach.",
       &options.postgres},
      {"address-file", "File that gets the bound addresses once the server is ready: API, then metrics, one a line.",
       &options.address_file},
      {"insecure-allow-remote",
       "Listen on addresses that other machines reach, without TLS or authentication: everybody there may run jobs.",
       &options.insecure_allow_remote},
      {"lease", "How long a worker may be silent before its attempts are lost; at least 6 x next-call.",
       &options.lease},
      {"next-call", "How often an idle worker reports.", &options.next_call},
      {"disconnect-grace", "How long an attempt trains on when its worker cannot reach the server.",
       &options.disconnect_grace},
      {"max-queued-jobs",
       "Jobs that may wait; submits beyond them are refused.",
       &options.max_queued_jobs,
       {.min = 1, .max = std::numeric_limits<std::int32_t>::max()}},
      {"priority-worth", "How much waiting one point of priority outweighs.", &options.priority_worth},
      {"reserve-after", "A job that stands first and finds no room for this long has a worker kept for it.",
       &options.reserve_after},
      {"preempting-priority",
       "Jobs of at least this priority may have lesser ones saved and stopped to take their device; 1001 is nobody.",
       &options.preempting_priority,
       {.min = -1000, .max = 1001}},
      {"retention-time",
       "Jobs that ended longer ago are deleted, with their history, artifacts and checkpoints; 0 keeps them.",
       &options.retention_time},
      {"retention-jobs",
       "Of the jobs that have ended, this many of the newest are kept and the others deleted; 0 keeps all.",
       &options.retention_jobs,
       {.min = 0}},
      {"drain-timeout", "How long open calls may take to end after SIGTERM.", &options.drain_timeout},
      {"log-format",
       "auto is text on a terminal, else json.",
       &options.log_format,
       {.choices = {"auto", "json", "text"}}},
      {"log-level",
       "What is below it is not written.",
       &options.log_level,
       {.choices = {"debug", "info", "warning", "error"}}},
  };
}

namespace {

absl::Status CheckAddress(const std::string& flag, const std::string& text, bool allow_remote) {
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) {
    return absl::InvalidArgumentError(flag + ": " + std::string(address.status().message()));
  }
  if (address->IsLoopback() || allow_remote) return absl::OkStatus();
  return absl::InvalidArgumentError(
      flag + ": " + text +
      " can be reached from other machines, and this release has neither TLS nor authentication: whoever connects may "
      "run jobs, read results and cancel what others run. Listen on 127.0.0.1, or say --insecure-allow-remote if the "
      "network is private.");
}

}  // namespace

absl::Status CheckOptions(const ServerOptions& options) {
  absl::Status status = CheckAddress("--listen", options.listen, options.insecure_allow_remote);
  if (status.ok() && !options.metrics_listen.empty()) {
    status = CheckAddress("--metrics-listen", options.metrics_listen, options.insecure_allow_remote);
  }
  if (!status.ok()) return status;
  if (options.next_call <= std::chrono::milliseconds(0)) {
    return absl::InvalidArgumentError("--next-call: must be more than 0, e.g. 5s");
  }
  if (options.lease < 6 * options.next_call) {
    return absl::InvalidArgumentError("--lease: " + process::FormatDuration(options.lease) +
                                      " is less than 6 x --next-call (" + process::FormatDuration(options.next_call) +
                                      "): a few lost calls would take jobs from a healthy worker; use at least " +
                                      process::FormatDuration(6 * options.next_call));
  }
  if (options.data_dir.empty()) return absl::InvalidArgumentError("--data-dir: must name a folder");
  return absl::OkStatus();
}

}  // namespace mantissa::server
