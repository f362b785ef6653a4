#include "server/metrics/server_metrics.h"

#include <limits>
#include <string>

namespace mantissa::server {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

// A commit to a local disk takes about a millisecond, one behind a busy one some tens.
const Histogram::BucketBoundaries kFast = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5};
const Histogram::BucketBoundaries kWaits = {0.01, 0.1, 1, 10, 60, 600, 3600, 21600, 86400};
const Histogram::BucketBoundaries kCounts = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};

Family<Counter>& Counters(Registry& registry, const std::string& name, const std::string& help) {
  return BuildCounter().Name(name).Help(help).Register(registry);
}
Family<Gauge>& Gauges(Registry& registry, const std::string& name, const std::string& help) {
  return BuildGauge().Name(name).Help(help).Register(registry);
}
Family<Histogram>& Histograms(Registry& registry, const std::string& name, const std::string& help) {
  return BuildHistogram().Name(name).Help(help).Register(registry);
}

}  // namespace

ServerMetrics::ServerMetrics()
    : of_every_server(std::make_shared<Registry>()),
      registry(std::make_shared<Registry>()),
      build_info(
          Gauges(*of_every_server, "mantissa_server_build_info", "Always 1; its labels say which build this is.")),
      active(Gauges(*of_every_server, "mantissa_server_active", "1 on the server that serves, 0 on one that stands by.")
                 .Add({})),
      jobs(Gauges(*registry, "mantissa_jobs", "Jobs that have not ended, by state.")),
      jobs_ended(Counters(*registry, "mantissa_jobs_ended_total", "Jobs that reached an end, by state.")),
      jobs_submitted(Counters(*registry, "mantissa_jobs_submitted_total", "Jobs stored by submits.").Add({})),
      submit_seconds(
          Histograms(*registry, "mantissa_submit_seconds", "From the arrival of a submit to its durable answer.")
              .Add({}, kFast)),
      queue_wait_seconds(
          Histograms(*registry, "mantissa_job_queue_wait_seconds", "From submit to the first assignment of a job.")
              .Add({}, kWaits)),
      job_oldest_queued_seconds(Gauges(*registry, "mantissa_job_oldest_queued_seconds",
                                       "How long the job that waits longest has been in the queue; 0 when none waits.")
                                    .Add({})),
      attempts_ended(
          Counters(*registry, "mantissa_attempts_ended_total", "Attempts that ended, by outcome and reason.")),
      lease_expiries(
          Counters(*registry, "mantissa_lease_expiries_total", "Attempts lost because their lease ran out.").Add({})),
      fence_rejections(Counters(*registry, "mantissa_fence_rejections_total",
                                "Writes refused because the attempt they speak for is no longer the live one.")
                           .Add({})),
      checkpoints_committed(
          Counters(*registry, "mantissa_checkpoints_committed_total", "Checkpoints committed by workers.").Add({})),
      workers(Gauges(*registry, "mantissa_workers",
                     "Workers by state: connected, draining (connected and given no work), disconnected (silent for a "
                     "lease and not yet forgotten).")),
      worker_oldest_report_seconds(Gauges(*registry, "mantissa_worker_oldest_report_seconds",
                                          "Since the newest report of the worker that has been silent longest.")
                                       .Add({})),
      rpcs(Counters(*registry, "mantissa_rpcs_total", "Calls answered, by method and status code.")),
      rpc_seconds(
          Histograms(*registry, "mantissa_rpc_seconds",
                     "From the arrival of a unary call to its answer, by method; calls that hang are left out.")),
      refused_calls(Counters(*registry, "mantissa_refused_calls_total",
                             "Calls that were not let in, by reason: who calls is not known, may not, or has had the "
                             "share of its tenant.")),
      ended_connections(
          Counters(*of_every_server, "mantissa_ended_connections_total",
                   "Connections ended because they sent most while the server's memory grew too fast, because their "
                   "address opened calls only to reset them, or because it had most of too many.")
              .Add({})),
      certificate_expiry(Gauges(*of_every_server, "mantissa_server_certificate_expiry_timestamp_seconds",
                                "When the API's TLS certificate ends, in Unix time; +Inf without TLS.")
                             .Add({}, std::numeric_limits<double>::infinity())),
      store_commit_seconds(
          Histograms(*registry, "mantissa_store_commit_seconds", "Time of one transaction of the store.")
              .Add({}, kFast)),
      store_commit_commands(
          Histograms(*registry, "mantissa_store_commit_commands", "Commands that shared one transaction.")
              .Add({}, kCounts)),
      store_commit_failures(
          Counters(*registry, "mantissa_store_commit_failures_total", "Transactions that did not become durable.")
              .Add({})),
      store_read_only(Gauges(*registry, "mantissa_store_read_only",
                             "1 while nothing can be stored and only what changes nothing is answered.")
                          .Add({})),
      store_wal_bytes(Gauges(*registry, "mantissa_store_wal_bytes",
                             "Size of SQLite's write-ahead log; one that only grows is never checkpointed.")),
      watchers(Gauges(*registry, "mantissa_watchers", "Open watches of jobs.").Add({})),
      telemetry_entries_stored(
          Counters(*registry, "mantissa_telemetry_entries_stored_total", "Records, events and gaps made durable.")
              .Add({})),
      telemetry_entries_sent(
          Counters(*registry, "mantissa_telemetry_entries_sent_total", "Records, events and gaps sent to watchers.")
              .Add({})),
      telemetry_gaps(
          Counters(*registry, "mantissa_telemetry_gaps_total", "Explicit gaps in the telemetry of jobs.").Add({})),
      job_step(Gauges(*registry, "mantissa_job_step", "Updates applied by a running job.")),
      job_iteration(Gauges(*registry, "mantissa_job_iteration", "Windows consumed by a running job.")),
      job_loss(Gauges(*registry, "mantissa_job_loss", "Newest loss of a running job.")),
      job_loss_scale(Gauges(*registry, "mantissa_job_loss_scale", "Loss scale of a running FP16 job.")),
      job_overflows(Counters(*registry, "mantissa_job_overflows_total",
                             "Iterations of a running job skipped because a gradient overflowed.")),
      job_skipped_ratio(Gauges(*registry, "mantissa_job_skipped_ratio",
                               "Iterations of a running job that applied no update, 0 to 1.")),
      job_grad_norm(
          Gauges(*registry, "mantissa_job_grad_norm", "Newest gradient norm of a running job, before clipping.")),
      job_samples_per_second(Gauges(*registry, "mantissa_job_samples_per_second", "Training rate of a running job.")),
      job_progress_ratio(Gauges(*registry, "mantissa_job_progress_ratio",
                                "Iterations done of all iterations of a running job, 0 to 1.")),
      job_phase(Gauges(*registry, "mantissa_job_phase",
                       "Numeric phase of a running job: 1 calibrating, 2 steady, 3 unstable.")),
      job_stability_ratio(Gauges(*registry, "mantissa_job_stability_ratio",
                                 "Iterations of a running job's statistics window in which the loss scale did not "
                                 "back off, 0 to 1; from a full window on.")),
      job_window_skipped_ratio(Gauges(*registry, "mantissa_job_window_skipped_ratio",
                                      "Iterations of a running job's statistics window that were skipped, 0 to 1.")) {}

}  // namespace mantissa::server
