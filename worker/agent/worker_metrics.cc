#include "worker/agent/worker_metrics.h"

namespace mantissa::agent {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;

prometheus::Counter& MakeCounter(prometheus::Registry& registry, const char* name, const char* help,
                                 const prometheus::Labels& labels = {}) {
  return BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

prometheus::Gauge& MakeGauge(prometheus::Registry& registry, const char* name, const char* help,
                             const prometheus::Labels& labels = {}) {
  return BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
}

constexpr char kDevices[] = "mantissa_worker_devices";
constexpr char kDevicesHelp[] = "Devices that are offered to the server.";
constexpr char kEnded[] = "mantissa_worker_attempts_total";
constexpr char kEndedHelp[] = "Attempts that ended here, by what they came to.";
constexpr char kCheckpoints[] = "mantissa_worker_checkpoints_total";
constexpr char kCheckpointsHelp[] = "Checkpoints that the server answered for.";

}  // namespace

WorkerMetrics::WorkerMetrics(prometheus::Registry& registry)
    : connected(MakeGauge(registry, "mantissa_worker_connected", "1 when the newest call to the server was answered.")),
      devices_cpu(MakeGauge(registry, kDevices, kDevicesHelp, {{"kind", "cpu"}})),
      devices_cuda(MakeGauge(registry, kDevices, kDevicesHelp, {{"kind", "cuda"}})),
      attempts(MakeGauge(registry, "mantissa_worker_attempts", "Attempts that are held, ended ones included.")),
      attempts_succeeded(MakeCounter(registry, kEnded, kEndedHelp, {{"outcome", "succeeded"}})),
      attempts_failed(MakeCounter(registry, kEnded, kEndedHelp, {{"outcome", "failed"}})),
      attempts_cancelled(MakeCounter(registry, kEnded, kEndedHelp, {{"outcome", "cancelled"}})),
      attempts_stopped(MakeCounter(registry, kEnded, kEndedHelp, {{"outcome", "stopped"}})),
      trainers_started(MakeCounter(registry, "mantissa_worker_trainers_started_total", "Trainer processes started.")),
      trainer_restarts(MakeCounter(registry, "mantissa_worker_trainer_restarts_total",
                                   "Trainer processes started in the place of another.")),
      telemetry_buffered_bytes(MakeGauge(registry, "mantissa_worker_telemetry_buffered_bytes",
                                         "Telemetry that the server has not acknowledged.")),
      telemetry_acknowledged(MakeCounter(registry, "mantissa_worker_telemetry_acknowledged_total",
                                         "Telemetry records and events that the server has stored.")),
      telemetry_gaps(MakeCounter(registry, "mantissa_worker_telemetry_gaps_total",
                                 "Gaps made because the buffer was full or a trainer left a hole.")),
      checkpoints_committed(MakeCounter(registry, kCheckpoints, kCheckpointsHelp, {{"outcome", "committed"}})),
      checkpoints_refused(MakeCounter(registry, kCheckpoints, kCheckpointsHelp, {{"outcome", "refused"}})),
      checkpoint_commit_retries(MakeCounter(registry, "mantissa_worker_checkpoint_commit_retries_total",
                                            "Commits that had to be asked for again.")),
      checkpoints_deleted(MakeCounter(registry, "mantissa_worker_checkpoints_deleted_total",
                                      "Checkpoints deleted because the server named them.")),
      checkpoint_deletion_failures(MakeCounter(registry, "mantissa_worker_checkpoint_deletion_failures_total",
                                               "Checkpoints that could not be deleted.")),
      artifacts_uploaded(MakeCounter(registry, "mantissa_worker_artifacts_uploaded_total", "Files uploaded.")),
      artifact_upload_failures(MakeCounter(registry, "mantissa_worker_artifact_upload_failures_total",
                                           "Uploads that failed and are tried again.")),
      synchronize_failures(MakeCounter(registry, "mantissa_worker_synchronize_failures_total",
                                       "Calls to the server that failed or were not answered in time.")) {}

void RaiseTo(prometheus::Counter& counter, std::int64_t total) {
  const double missing = static_cast<double>(total) - counter.Value();
  if (missing > 0) counter.Increment(missing);
}

}  // namespace mantissa::agent
