#include "worker/agent/worker_settings.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sched.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "absl/strings/str_cat.h"

namespace mantissa::agent {
namespace {

namespace fs = std::filesystem;

constexpr char kCheckpointsRoot[] = "checkpoints";
constexpr std::size_t kMaxLabels = 64;
constexpr std::size_t kMaxLabelBytes = 256;

std::string DefaultStateDir() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') {
    return absl::StrCat(state, "/mantissa-worker");
  }
  const char* home = std::getenv("HOME");
  return absl::StrCat(home != nullptr && *home == '/' ? home : "/var/lib", "/.local/state/mantissa-worker");
}

// Processors that this process may use; a container or a taskset may leave it fewer than the machine has.
int Processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

absl::StatusOr<std::vector<process::Root>> ParseRoots(const WorkerSettings& settings) {
  std::vector<process::Root> roots;
  bool has_checkpoints = false;
  for (std::string text : settings.roots) {
    const std::size_t equals = text.find('=');
    if (equals != std::string::npos && equals + 1 < text.size() && text[equals + 1] != '/') {
      std::error_code error;
      text = text.substr(0, equals + 1) + fs::absolute(text.substr(equals + 1), error).string();
    }
    absl::StatusOr<process::Root> root = process::ParseRootSetting(text);
    if (!root.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("--root: '", text, "': ", std::string(root.status().message())));
    }
    std::error_code error;
    if (!fs::is_directory(root->path, error)) {
      return absl::NotFoundError(absl::StrCat("--root: ", root->path, " (root '", root->name,
                                              "') is no folder; make it, or correct the setting"));
    }
    if (root->name == kCheckpointsRoot) has_checkpoints = root->writable = true;
    roots.push_back(std::move(*root));
  }
  if (!has_checkpoints) {
    const fs::path folder = fs::absolute(fs::path(settings.state_dir) / kCheckpointsRoot);
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) {
      return absl::InvalidArgumentError(absl::StrCat("--state-dir: can't make ", folder.string(), ": ", error.message(),
                                                     "; name a folder that is writable"));
    }
    roots.push_back({kCheckpointsRoot, folder.string(), /*writable=*/true});
  }
  return roots;
}

absl::StatusOr<std::map<std::string, std::string>> ParseLabels(const std::vector<std::string>& texts) {
  std::map<std::string, std::string> labels;
  for (const std::string& text : texts) {
    const std::size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos || equals > 63 || text.size() - equals - 1 > kMaxLabelBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("--label: '", text, "' must be key=value, the key 1 to 63 bytes, for example zone=a"));
    }
    if (!labels.emplace(text.substr(0, equals), text.substr(equals + 1)).second) {
      return absl::InvalidArgumentError(absl::StrCat("--label: '", text.substr(0, equals), "' is given twice"));
    }
  }
  if (labels.size() > kMaxLabels) return absl::InvalidArgumentError("--label: at most 64");
  return labels;
}

absl::StatusOr<std::string> FindTrainer(const std::string& given) {
  std::error_code error;
  const fs::path path = given.empty() ? fs::read_symlink("/proc/self/exe", error).parent_path() / "mantissa-trainer"
                                      : fs::absolute(given);
  if (!fs::is_regular_file(path, error) || ::access(path.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("--trainer: ", path.string(), " is not there, or may not be run; ",
                                            given.empty() ? "install mantissa-trainer beside mantissa-worker, or name "
                                                            "its path with --trainer"
                                                          : "correct the path"));
  }
  return path.string();
}

absl::Status CheckSandbox(process::SandboxLevel required, process::SandboxLevel kernel) {
  if (process::Satisfies(kernel, required)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "--require-sandbox: ", std::string(process::SandboxLevelName(required)), " is required, and this kernel offers ",
      std::string(process::SandboxLevelName(kernel)),
      "; run the worker where Landlock (Linux 5.13, lsm=landlock) and seccomp are there, or require less"));
}

absl::Status CheckJobMappingDir(const std::string& folder) {
  if (folder.empty()) return absl::OkStatus();
  std::error_code error;
  fs::create_directories(folder, error);
  if (!fs::is_directory(folder, error) || ::access(folder.c_str(), W_OK | X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("--dcgm-job-mapping-dir: ", folder,
                                                      " can't be written to; make it a folder of the user who runs ",
                                                      "the worker, or leave the setting out"));
  }
  return absl::OkStatus();
}

}  // namespace

process::Settings DeclareSettings(WorkerSettings& values) {
  values.state_dir = DefaultStateDir();
  return process::Settings(
      "mantissa-worker",
      {{"server", "Address of mantissa-server; of several on one PostgreSQL, ipv4:HOST:PORT,HOST:PORT.",
        &values.server},
       {"tls-ca", "PEM file of the CA that signs the server's certificate. Default: plain text.", &values.tls_ca},
       {"tls-certificate",
        "PEM file of this worker's certificate, for spiffe://mantissa/worker/ID, its worker-id; read again when it "
        "changes.",
        &values.tls_certificate},
       {"tls-key", "PEM file of its private key, without a passphrase.", &values.tls_key},
       {"tls-server-name", "Name in the server's certificate, where it is not what --server says.",
        &values.tls_server_name},
       {"metrics-listen", "Address that /metrics is served on; port 0: any.", &values.metrics_listen},
       {"state-dir", "Folder of what the worker keeps: its id, and checkpoints by default.", &values.state_dir},
       {"worker-id", "Name of this worker, kept in the state folder. Default: the kept one, or the host's name.",
        &values.worker_id},
       {"root", "A folder that specs may name, NAME=PATH; repeatable. `checkpoints` is writable, others are read-only.",
        &values.roots},
       {"label", "A label that worker_selector can ask for, KEY=VALUE; repeatable.", &values.labels},
       {"cpu-slots", "Jobs that may run on the CPU at a time.", &values.cpu_slots, {.min = 0, .max = 64}},
       {"threads",
        "Threads of one CPU job; 0: the processors, shared among the slots.",
        &values.threads,
        {.min = 0, .max = 1024}},
       {"trainer", "Path of mantissa-trainer. Default: beside this program.", &values.trainer},
       {"require-sandbox",
        "Least that a trainer must be shut in: none, seccomp (no sockets, programs or other processes), landlock "
        "(files "
        "only beneath the roots), full (both). Whatever the kernel has is used in any case.",
        &values.require_sandbox,
        {.choices = {"none", "seccomp", "landlock", "full"}}},
       {"dcgm-job-mapping-dir",
        "A folder where dcgm-exporter, given the same as --hpc-job-mapping-dir, finds the job of each GPU. Default: "
        "none.",
        &values.dcgm_job_mapping_dir},
       {"drain-grace", "How long running jobs may take to write a checkpoint when the worker is told to stop.",
        &values.drain_grace},
       {"pilot",
        "Work for as long as an allocation lasts, such as Slurm's or a pod's: leave, with exit code 0, before its end "
        "(--pilot-end), or when there has been nothing to do for --pilot-idle.",
        &values.pilot},
       {"pilot-end",
        "With --pilot: when the allocation ends, in seconds since 1970 or as 2026-11-27T21:50:00Z. Default: "
        "SLURM_JOB_END_TIME; without it, never.",
        &values.pilot_end},
       {"pilot-margin",
        "With --pilot: so long before the end no more work is taken, and what runs is saved and given back; at least "
        "--drain-grace.",
        &values.pilot_margin},
       {"pilot-idle", "With --pilot: how long to wait for work.", &values.pilot_idle},
       {"tensorboard-dir", "Folder of TensorBoard event files, DIR/JOB/attempt-N. Default: none are written.",
        &values.tensorboard_dir},
       {"mlflow-uri",
        "MLflow tracking server that attempts are logged to, http[s]://HOST[:PORT]; a token comes from "
        "MLFLOW_TRACKING_TOKEN. Default: none.",
        &values.mlflow_uri},
       {"mlflow-experiment", "Experiment that runs are put into; made where it is not there.",
        &values.mlflow_experiment},
       {"export-interval",
        "For TensorBoard and MLflow: after the first 1000 records of an attempt, one is exported each of these; 0: "
        "every one.",
        &values.export_interval},
       {"log-level",
        "debug, info, warning or error.",
        &values.log_level,
        {.choices = {"debug", "info", "warning", "error"}}},
       {"log-format",
        "json, text, or auto: text on a terminal.",
        &values.log_format,
        {.choices = {"auto", "json", "text"}}}});
}

absl::StatusOr<WorkerSetup> Prepare(const WorkerSettings& settings) {
  WorkerSetup setup;
  if (settings.server.find(':') == std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("--server: '", settings.server, "' must be host:port, for example 127.0.0.1:50051"));
  }
  setup.tls = {.certificate = settings.tls_certificate, .key = settings.tls_key, .ca = settings.tls_ca};
  const absl::StatusOr<process::TlsPems> pems =
      process::ReadCallersTlsFiles(setup.tls, /*secret_flag=*/"", std::chrono::system_clock::now());
  if (!pems.ok()) return pems.status();
  absl::Status named = process::CheckServerName(setup.tls, "--server", settings.server, settings.tls_server_name);
  if (!named.ok()) return named;
  absl::StatusOr<std::vector<process::Root>> roots = ParseRoots(settings);
  if (!roots.ok()) return roots.status();
  absl::StatusOr<std::map<std::string, std::string>> labels = ParseLabels(settings.labels);
  if (!labels.ok()) return labels.status();
  absl::StatusOr<std::string> trainer = FindTrainer(settings.trainer);
  if (!trainer.ok()) return trainer.status();
  if (absl::Status mapping = CheckJobMappingDir(settings.dcgm_job_mapping_dir); !mapping.ok()) return mapping;
  setup.required_sandbox = *process::ParseSandboxLevel(settings.require_sandbox);
  setup.kernel_sandbox = process::KernelSandboxLevel();
  if (absl::Status shut = CheckSandbox(setup.required_sandbox, setup.kernel_sandbox); !shut.ok()) return shut;
  setup.roots = std::move(*roots);
  setup.labels = std::move(*labels);
  setup.trainer = std::move(*trainer);
  const int shared = std::max<int>(1, Processors() / std::max<int>(1, static_cast<int>(settings.cpu_slots)));
  setup.threads = settings.threads > 0 ? static_cast<int>(settings.threads) : shared;
  setup.log = {*process::ParseLevel(settings.log_level), *process::ParseLogFormat(settings.log_format)};
  return setup;
}

}  // namespace mantissa::agent
