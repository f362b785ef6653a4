// What commits say about jobs, as metrics.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/telemetry.pb.h"
#include "process/clock.h"
#include "process/mutex.h"
#include "server/metrics/server_metrics.h"
#include "server/store/group_commit.h"

namespace mantissa::server {

struct JobMetricsOptions {
  // Running jobs beyond these have no series of their own.
  size_t max_live_jobs = 200;
};

// Counts jobs by state, ends of jobs and attempts, and shows the newest record of each running job. A job's series are
// there while it runs and are removed by the commit that ends it or takes it back to the queue. Thread-safe.
class JobMetrics : public CommitListener {
 public:
  explicit JobMetrics(ServerMetrics& metrics, JobMetricsOptions options = {});
  ~JobMetrics() override;

  // A job that had not ended when the server started; before the first commit.
  void Seed(const v1::Job& job);

  void OnCommitted(const Changes& changes) override;

  // Since when the queued job waits that waits longest; absent when none does.
  std::optional<process::WallTime> OldestQueued() const;

 private:
  class LiveSeries;
  struct Known {
    v1::Job::State state = v1::Job::STATE_UNSPECIFIED;
    process::WallTime since;
    std::unique_ptr<LiveSeries> series;  // while it runs
  };

  void CountStateLocked(Known& known, const v1::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetStateLocked(const v1::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Before the state is set: the move from waiting to the first assignment.
  void ObserveQueueWaitLocked(const v1::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddTelemetryLocked(const TelemetryWrite& write) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  prometheus::Gauge& StateGauge(v1::Job::State state);
  prometheus::Counter& EndCounter(v1::Attempt::State outcome, v1::Reason::Code reason);

  ServerMetrics& metrics_;
  const JobMetricsOptions options_;
  mutable process::Mutex mutex_;
  std::map<std::string, Known, std::less<>> jobs_ ABSL_GUARDED_BY(mutex_);               // that have not ended
  std::set<std::pair<process::WallTime, const Known*>> queued_ ABSL_GUARDED_BY(mutex_);  // by how long they wait
  size_t live_jobs_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace mantissa::server
