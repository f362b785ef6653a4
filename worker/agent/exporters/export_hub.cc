#include "worker/agent/exporters/export_hub.h"

#include <chrono>
#include <utility>

namespace mantissa::agent {

void ExportHub::Add(std::unique_ptr<Exporter> exporter, const ExportOptions& options) {
  const prometheus::Labels labels = {{"exporter", exporter->name()}};
  lanes_.push_back(std::make_unique<ExportLane>(std::move(exporter), options, metrics_.export_failures.Add(labels),
                                                metrics_.export_dropped_records.Add(labels)));
}

void ExportHub::Begin(const AttemptKey& key, const v1::Assignment& assignment) {
  if (lanes_.empty() || !assignment.spec().has_training()) return;
  ExportedAttempt attempt;
  attempt.key = key;
  attempt.name = assignment.spec().name();
  attempt.start_unix_millis =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.WallNow().time_since_epoch()).count();
  attempt.parameters = ParametersOf(assignment.spec());
  for (const auto& lane : lanes_) lane->Begin(attempt);
}

void ExportHub::Add(const AttemptKey& key, const v1::TelemetryBatch& batch) {
  if (lanes_.empty()) return;
  const auto shared = std::make_shared<const v1::TelemetryBatch>(batch);
  for (const auto& lane : lanes_) lane->Add(key, shared);
}

void ExportHub::End(const AttemptKey& key, v1::Attempt::State state) {
  for (const auto& lane : lanes_) lane->End(key, state);
}

}  // namespace mantissa::agent
