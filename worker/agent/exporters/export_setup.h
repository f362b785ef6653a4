// Which exporters a worker's settings ask for.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "process/clock.h"
#include "process/settings.h"
#include "worker/agent/exporters/export_hub.h"
#include "worker/agent/exporters/mlflow_exporter.h"
#include "worker/agent/worker_settings.h"

namespace mantissa::agent {

struct ExportSetup {
  std::string tensorboard_dir;  // absolute; empty: none
  std::optional<MlflowOptions> mlflow;
  ExportOptions options;
};

// INVALID_ARGUMENT that names the setting and the remedy. Makes the folder of event files. The token of MLflow comes
// from `environment` alone (MLFLOW_TRACKING_TOKEN), so that no command line and no printed setting has it; it goes over
// https, or to this machine.
absl::StatusOr<ExportSetup> PrepareExports(const WorkerSettings& settings, const process::Environment& environment);

// `clock` must outlive the hub.
void AddExporters(const ExportSetup& setup, const std::string& host_name, const process::Clock& clock, ExportHub& hub);

}  // namespace mantissa::agent
