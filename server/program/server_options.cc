#include "server/program/server_options.h"

#include <limits>

#include "process/text_value.h"
#include "server/rpc/listen_address.h"

namespace mantissa::server {

std::vector<process::Setting> DeclareSettings(ServerOptions& options) {
  return {
      {"listen", "Address of the API, host:port; port 0 takes a free one.", &options.listen},
      {"metrics-listen", "Address of /metrics, host:port; empty for none.", &options.metrics_listen},
      {"health-listen",
       "Address, host:port, of gRPC health without TLS and of nothing else, for probes that speak none, such as "
       "Kubernetes'; it tells whether this server is ready, and no more. Empty for none.",
       &options.health_listen},
      {"data-dir", "Folder of the database, logs and artifacts; made when missing.", &options.data_dir},
      {"postgres",
       "Keep jobs in this PostgreSQL database (postgresql://user@host/name), so that a second server may stand by; a "
       "password belongs into PGPASSWORD or ~/.pgpass. Logs and artifacts stay in data-dir, which all of them reach.",
       &options.postgres,
       {.secret = true}},
      {"address-file",
       "File that gets the bound addresses once the server is ready: API, metrics, health, one a line, empty where "
       "there is none.",
       &options.address_file},
      {"insecure-allow-remote",
       "Listen on addresses that other machines reach though nothing protects them: the API without TLS or "
       "authentication, where everybody may run jobs; /metrics, where everybody may read.",
       &options.insecure_allow_remote},
      {"tls-certificate",
       "PEM file of the API's certificate and those on its way to the CA; read again when it changes.",
       &options.tls_certificate},
      {"tls-key", "PEM file of its private key, without a passphrase.", &options.tls_key},
      {"tls-client-ca",
       "PEM file of the CA that signs client certificates (spiffe://mantissa/worker/ID, "
       "spiffe://mantissa/tenant/TENANT/ROLE); workers need one. Given, every call has to say who it comes from.",
       &options.tls_client_ca},
      {"tokens",
       "File of the SHA-256 of bearer tokens with their tenants and roles, as `mantissa token` prints it; read again "
       "when it changes. Given, every call has to say who it comes from.",
       &options.tokens},
      {"lease", "How long a worker may be silent before its attempts are lost; at least 6 x next-call.",
       &options.lease},
      {"next-call", "How often an idle worker reports.", &options.next_call},
      {"disconnect-grace", "How long an attempt trains on when its worker cannot reach the server.",
       &options.disconnect_grace},
      {"max-queued-jobs",
       "Jobs that may wait; submits beyond them are refused.",
       &options.max_queued_jobs,
       {.min = 1, .max = std::numeric_limits<std::int32_t>::max()}},
      {"tenant-max-queued-jobs",
       "Jobs of one tenant that may wait; submits beyond them are refused.",
       &options.tenant_max_queued_jobs,
       {.min = 1, .max = std::numeric_limits<std::int32_t>::max()}},
      {"tenant-calls-per-second",
       "Calls that one tenant may make in a second, where callers say who they are; 0 is any number.",
       &options.tenant_calls_per_second,
       {.min = 0}},
      {"tenant-max-streams",
       "Watches and downloads that one tenant may have open; 0 is any number.",
       &options.tenant_max_streams,
       {.min = 0}},
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
      {"telemetry-full-records",
       "Of a job's records of iterations about this many of the newest are kept one by one; older ones become rows "
       "that stand for 128 each, with the ends between which loss, scale and norm lay. 0 keeps all.",
       &options.telemetry_full_records,
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

bool Authenticates(const ServerOptions& options) { return !options.tls_client_ca.empty() || !options.tokens.empty(); }

process::TlsFiles TlsFilesOf(const ServerOptions& options) {
  return {.certificate = options.tls_certificate,
          .key = options.tls_key,
          .ca = options.tls_client_ca,
          .ca_flag = "--tls-client-ca"};
}

namespace {

// `unsafe`: what everybody who reaches the address could do, and how to prevent it.
absl::Status CheckAddress(const std::string& flag, const std::string& text, bool allow_remote, const char* unsafe) {
  const absl::StatusOr<ListenAddress> address = ParseListenAddress(text);
  if (!address.ok()) {
    return absl::InvalidArgumentError(flag + ": " + std::string(address.status().message()));
  }
  if (address->IsLoopback() || allow_remote) return absl::OkStatus();
  return absl::InvalidArgumentError(flag + ": " + text + " can be reached from other machines, and " + unsafe +
                                    ", or say --insecure-allow-remote if the network is private.");
}

absl::Status CheckTls(const ServerOptions& options) {
  const bool tls = !options.tls_certificate.empty();
  if (tls != !options.tls_key.empty()) {
    return absl::InvalidArgumentError(std::string(tls ? "--tls-key" : "--tls-certificate") +
                                      ": is missing; a certificate and its key are given together, as "
                                      "--tls-certificate FILE and --tls-key FILE");
  }
  if (tls || !Authenticates(options)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      std::string(options.tokens.empty() ? "--tls-client-ca" : "--tokens") +
      ": needs TLS, or whoever listens on the network gets what callers show; give --tls-certificate FILE and "
      "--tls-key FILE, too (deploy/certs.sh makes some to try it with)");
}

}  // namespace

absl::Status CheckOptions(const ServerOptions& options) {
  absl::Status status = CheckTls(options);
  const bool protects_itself = !options.tls_certificate.empty() && Authenticates(options);
  if (status.ok()) {
    status = CheckAddress("--listen", options.listen, options.insecure_allow_remote || protects_itself,
                          "without both TLS and authentication whoever connects may run jobs, read results and cancel "
                          "what others run. Give --tls-certificate and --tls-key with --tokens or --tls-client-ca, "
                          "listen on 127.0.0.1");
  }
  if (status.ok() && !options.metrics_listen.empty()) {
    status = CheckAddress("--metrics-listen", options.metrics_listen, options.insecure_allow_remote,
                          "whoever connects may read the names and figures of jobs. Listen on 127.0.0.1");
  }
  // Whether a server is ready is no secret: any address will do.
  if (status.ok() && !options.health_listen.empty()) {
    status = CheckAddress("--health-listen", options.health_listen, /*allow_remote=*/true, "");
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
