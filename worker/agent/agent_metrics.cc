// What the agent counts.
#include "worker/agent/agent.h"

namespace mantissa::agent {

void Agent::UpdateMetrics() {
  WorkerMetrics& metrics = world_.metrics;
  metrics.connected.Set(sync_.connected() ? 1 : 0);
  int cpu = 0, cuda = 0;
  for (const v1::Device& device : trainers_.devices()) ++(device.kind() == v1::Device::CUDA ? cuda : cpu);
  metrics.devices_cpu.Set(cpu);
  metrics.devices_cuda.Set(cuda);
  metrics.attempts.Set(static_cast<double>(attempts_.all().size()));
  metrics.telemetry_buffered_bytes.Set(static_cast<double>(telemetry_.buffered_bytes()));
  RaiseTo(metrics.trainers_started, trainers_.counts().started);
  RaiseTo(metrics.trainer_restarts, trainers_.counts().replaced);
  RaiseTo(metrics.telemetry_acknowledged, telemetry_.counts().acknowledged);
  RaiseTo(metrics.telemetry_gaps, telemetry_.counts().gaps);
  RaiseTo(metrics.checkpoints_committed, commits_.counts().committed);
  RaiseTo(metrics.checkpoints_refused, commits_.counts().refused);
  RaiseTo(metrics.checkpoint_commit_retries, commits_.counts().retries);
  RaiseTo(metrics.artifacts_uploaded, uploads_.uploaded());
  RaiseTo(metrics.artifact_upload_failures, uploads_.failed());
}

void Agent::Count(const v1::JobEvent& event) {
  WorkerMetrics& metrics = world_.metrics;
  if (event.has_checkpoint()) metrics.checkpoint_seconds.Observe(event.checkpoint().seconds());
  if (event.reason() == "CHECKPOINT_NOT_SAVED") metrics.checkpoint_save_failures.Increment();
  if (event.reason() == "CHECKPOINT_DAMAGED") metrics.checkpoint_fallbacks.Increment();
}

void Agent::Count(const HeldAttempt& attempt) {
  WorkerMetrics& metrics = world_.metrics;
  if (attempt.end_state == v1::Attempt::SUCCEEDED) {
    metrics.attempts_succeeded.Increment();
  } else if (attempt.end_state == v1::Attempt::CANCELLED) {
    metrics.attempts_cancelled.Increment();
  } else if (attempt.end_reason.code == v1::Reason::WORKER_STOPPED) {
    metrics.attempts_stopped.Increment();
  } else {
    metrics.attempts_failed.Increment();
  }
}

}  // namespace mantissa::agent
