#include "worker/agent/worker_metrics.h"

namespace mantissa::agent {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Histogram;

prometheus::Counter& MakeCounter(prometheus::Registry& registry, const char* name, const char* help,
                                 const prometheus::Labels& labels = {}) {
  return BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

prometheus::Gauge& MakeGauge(prometheus::Registry& registry, const char* name, const char* help,
                             const prometheus::Labels& labels = {}) {
  return BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
}

// From a small model on a local disk to a large one on a network's.
const Histogram::BucketBoundaries kCheckpointSeconds = {0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300};

constexpr char kDevices[] = "mantissa_worker_devices";
constexpr char kDevicesHelp[] = "Devices that are offered to the server.";
constexpr char kEnded[] = "mantissa_worker_attempts_total";
constexpr char kEndedHelp[] = "Attempts that ended here, by what they came to.";
constexpr char kCheckpoints[] = "mantissa_worker_checkpoints_total";
constexpr char kCheckpointsHelp[] = "Checkpoints that the server answered for.";

}  // namespace

WorkerMetrics::WorkerMetrics(prometheus::Registry& registry)
    : build_info(BuildGauge()
                     .Name("mantissa_worker_build_info")
                     .Help("Always 1; its labels say which build this is.")
                     .Register(registry)),
      connected(MakeGauge(registry, "mantissa_worker_connected", "1 when the newest call to the server was answered.")),
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
      checkpoint_seconds(BuildHistogram()
                             .Name("mantissa_worker_checkpoint_seconds")
                             .Help("Time that a trainer took to write a checkpoint, until it was durable.")
                             .Register(registry)
                             .Add({}, kCheckpointSeconds)),
      checkpoint_save_failures(MakeCounter(registry, "mantissa_worker_checkpoint_save_failures_total",
                                           "Checkpoints that a trainer could not write; it trains on.")),
      checkpoint_fallbacks(MakeCounter(registry, "mantissa_worker_checkpoint_fallbacks_total",
                                       "Checkpoints that a resume passed over because they were damaged.")),
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
                                       "Calls to the server that failed or were not answered in time.")),
      root_free_bytes(BuildGauge()
                          .Name("mantissa_worker_root_free_bytes")
                          .Help("Free space on the file system of a root, looked at every half minute.")
                          .Register(registry)),
      export_failures(BuildCounter()
                          .Name("mantissa_worker_export_failures_total")
                          .Help("Calls of an exporter that failed; jobs are not touched by that.")
                          .Register(registry)),
      export_dropped_records(
          BuildCounter()
              .Name("mantissa_worker_export_dropped_records_total")
              .Help("Records that an exporter was not given because it was too slow or refused them.")
              .Register(registry)) {
  // Zero is said, too, or an exporter that is not set up would look like one that is not known of.
  for (const char* const exporter : {"tensorboard", "mlflow"}) {
    export_failures.Add({{"exporter", exporter}});
    export_dropped_records.Add({{"exporter", exporter}});
  }
}

void WorkerMetrics::SetRootFreeBytes(const std::string& root, std::int64_t bytes) {
  root_free_bytes.Add({{"root", root}}).Set(static_cast<double>(bytes));
}

void RaiseTo(prometheus::Counter& counter, std::int64_t total) {
  const double missing = static_cast<double>(total) - counter.Value();
  if (missing > 0) counter.Increment(missing);
}

}  // namespace mantissa::agent
