// Every Prometheus family of the worker.
#pragma once

#include <cstdint>
#include <string>

#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace mantissa::agent {

// Not for what a job says of itself: the server shows that. Thread-safe, as prometheus-cpp's nouns are.
class WorkerMetrics {
 public:
  explicit WorkerMetrics(prometheus::Registry& registry);

  void SetRootFreeBytes(const std::string& root, std::int64_t bytes);

  prometheus::Family<prometheus::Gauge>& build_info;  // version, grpc
  prometheus::Gauge& connected;
  prometheus::Gauge& devices_cpu;
  prometheus::Gauge& devices_cuda;
  prometheus::Gauge& attempts;
  prometheus::Counter& attempts_succeeded;
  prometheus::Counter& attempts_failed;
  prometheus::Counter& attempts_cancelled;
  prometheus::Counter& attempts_stopped;  // given back because the worker was told to stop
  prometheus::Counter& trainers_started;
  prometheus::Counter& trainer_restarts;
  prometheus::Gauge& telemetry_buffered_bytes;
  prometheus::Counter& telemetry_acknowledged;
  prometheus::Counter& telemetry_gaps;
  prometheus::Histogram& checkpoint_seconds;
  prometheus::Counter& checkpoint_save_failures;
  prometheus::Counter& checkpoint_fallbacks;
  prometheus::Counter& checkpoints_committed;
  prometheus::Counter& checkpoints_refused;
  prometheus::Counter& checkpoint_commit_retries;
  prometheus::Counter& checkpoints_deleted;
  prometheus::Counter& checkpoint_deletion_failures;
  prometheus::Counter& artifacts_uploaded;
  prometheus::Counter& artifact_upload_failures;
  prometheus::Counter& synchronize_failures;
  prometheus::Family<prometheus::Gauge>& root_free_bytes;  // root: as many as were configured
  // By exporter: those that are set up, two at most.
  prometheus::Family<prometheus::Counter>& export_failures;
  prometheus::Family<prometheus::Counter>& export_dropped_records;
};

// Brings a counter up to a total that is kept elsewhere.
void RaiseTo(prometheus::Counter& counter, std::int64_t total);

}  // namespace mantissa::agent
