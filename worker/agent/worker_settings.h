// The settings of mantissa-worker, and what they come to.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "process/log.h"
#include "process/roots.h"
#include "process/sandbox_level.h"
#include "process/settings.h"
#include "process/tls_files.h"

namespace mantissa::agent {

// As given. Names and helps are in DeclareSettings.
struct WorkerSettings {
  std::string server = "127.0.0.1:50051";
  // PEM files: the CA of the server's certificate, and what this worker shows itself by; empty: plain text.
  std::string tls_ca;
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_server_name;
  std::string metrics_listen = "127.0.0.1:9465";
  std::string state_dir;  // filled in from the environment by DeclareSettings
  std::string worker_id;
  std::vector<std::string> roots;
  std::vector<std::string> labels;
  std::int64_t cpu_slots = 1;
  std::int64_t threads = 0;
  std::string trainer;
  std::string require_sandbox = "none";
  std::string dcgm_job_mapping_dir;
  std::chrono::milliseconds drain_grace{30'000};
  bool pilot = false;
  std::string pilot_end;  // empty: SLURM_JOB_END_TIME, or none
  std::chrono::milliseconds pilot_margin{60'000};
  std::chrono::milliseconds pilot_idle{60'000};
  std::string tensorboard_dir;  // empty: no event files
  std::string mlflow_uri;       // empty: no MLflow
  std::string mlflow_experiment = "mantissa";
  std::chrono::milliseconds export_interval{1'000};
  std::string log_level = "info";
  std::string log_format = "auto";
};

// Every target is in `values`, which must outlive the result.
process::Settings DeclareSettings(WorkerSettings& values);

// Checked and complete.
struct WorkerSetup {
  std::vector<process::Root> roots;  // `checkpoints` among them, writable
  std::map<std::string, std::string> labels;
  std::string trainer;  // absolute path of an executable file
  process::SandboxLevel required_sandbox = process::SandboxLevel::kNone;
  process::SandboxLevel kernel_sandbox = process::SandboxLevel::kNone;  // what this machine's kernel can do
  int threads = 1;                                                      // that one attempt on a CPU device may use
  process::LogOptions log;
  process::TlsFiles tls;  // checked
};

// INVALID_ARGUMENT or NOT_FOUND that names the setting and the remedy. Makes the state folder and, when it is the
// default one, the folder of checkpoints.
absl::StatusOr<WorkerSetup> Prepare(const WorkerSettings& settings);

}  // namespace mantissa::agent
