// Every Prometheus family of the server.
#pragma once

#include <memory>

#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace mantissa::server {

// Declares the families and makes those without variable labels at once, so that a scrape of a fresh server shows them
// at 0. Base units; labels are bounded: states, reasons, methods and codes are enumerations, and only the families of
// live jobs have a job's id (JobMetrics keeps them to 200 jobs). Thread-safe, as prometheus-cpp is.
struct ServerMetrics {
  ServerMetrics();

  // What a server shows while it stands by, too; `registry` has the rest.
  std::shared_ptr<prometheus::Registry> of_every_server;
  std::shared_ptr<prometheus::Registry> registry;

  prometheus::Family<prometheus::Gauge>& build_info;  // version, grpc
  prometheus::Gauge& active;

  // Jobs and attempts.
  prometheus::Family<prometheus::Gauge>& jobs;          // state
  prometheus::Family<prometheus::Counter>& jobs_ended;  // state
  prometheus::Counter& jobs_submitted;
  prometheus::Histogram& submit_seconds;
  prometheus::Histogram& queue_wait_seconds;
  prometheus::Gauge& job_oldest_queued_seconds;
  prometheus::Family<prometheus::Counter>& attempts_ended;  // outcome, reason
  prometheus::Counter& lease_expiries;
  prometheus::Counter& fence_rejections;
  prometheus::Counter& checkpoints_committed;

  // Workers, as the server knows them.
  prometheus::Family<prometheus::Gauge>& workers;  // state
  prometheus::Gauge& worker_oldest_report_seconds;

  // Calls.
  prometheus::Family<prometheus::Counter>& rpcs;           // method, code
  prometheus::Family<prometheus::Histogram>& rpc_seconds;  // method
  prometheus::Family<prometheus::Counter>& refused_calls;  // reason
  prometheus::Counter& ended_connections;

  // Access.
  prometheus::Gauge& certificate_expiry;

  // Store.
  prometheus::Histogram& store_commit_seconds;
  prometheus::Histogram& store_commit_commands;
  prometheus::Counter& store_commit_failures;
  prometheus::Gauge& store_read_only;
  prometheus::Family<prometheus::Gauge>& store_wal_bytes;  // no labels; of SQLite only

  // Telemetry.
  prometheus::Gauge& watchers;
  prometheus::Counter& telemetry_entries_stored;
  prometheus::Counter& telemetry_entries_sent;
  prometheus::Counter& telemetry_gaps;

  // Of each running job: job_id, name. At most 12 (P21).
  prometheus::Family<prometheus::Gauge>& job_step;
  prometheus::Family<prometheus::Gauge>& job_iteration;
  prometheus::Family<prometheus::Gauge>& job_loss;
  prometheus::Family<prometheus::Gauge>& job_loss_scale;
  prometheus::Family<prometheus::Counter>& job_overflows;
  prometheus::Family<prometheus::Gauge>& job_skipped_ratio;
  prometheus::Family<prometheus::Gauge>& job_grad_norm;
  prometheus::Family<prometheus::Gauge>& job_samples_per_second;
  prometheus::Family<prometheus::Gauge>& job_progress_ratio;
  prometheus::Family<prometheus::Gauge>& job_phase;
  prometheus::Family<prometheus::Gauge>& job_stability_ratio;
  prometheus::Family<prometheus::Gauge>& job_window_skipped_ratio;
};

}  // namespace mantissa::server
