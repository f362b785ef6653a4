// From the agent to every exporter that is set up.
#pragma once

#include <memory>
#include <vector>

#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "worker/agent/exporters/export_lane.h"
#include "worker/agent/worker_metrics.h"

namespace mantissa::agent {

// Nothing here waits or fails: see Note [Exports never touch a job]. Jobs that train nothing are not exported. Not
// thread-safe.
class ExportHub {
 public:
  // `clock` and `metrics` must outlive it.
  ExportHub(const process::Clock& clock, WorkerMetrics& metrics) : clock_(clock), metrics_(metrics) {}

  // Before the first attempt.
  void Add(std::unique_ptr<Exporter> exporter, const ExportOptions& options);

  void Begin(const AttemptKey& key, const v1::Assignment& assignment);
  void Add(const AttemptKey& key, const v1::TelemetryBatch& batch);
  void End(const AttemptKey& key, v1::Attempt::State state);

 private:
  const process::Clock& clock_;
  WorkerMetrics& metrics_;
  std::vector<std::unique_ptr<ExportLane>> lanes_;
};

}  // namespace mantissa::agent
