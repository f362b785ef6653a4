#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"

#include "process/clock.h"
#include "process/mutex.h"
#include "server/core/scheduler.h"
#include "server/metrics/job_metrics.h"
#include "server/metrics/server_metrics.h"
#include "server/store/group_commit.h"

namespace mantissa::server {

// Everything that a scrape gets. What is a state rather than a count is looked up then: the workers, the job that has
// waited longest, the size of the write-ahead log. A writer's thread that hangs, with its disk, does not make the
// scrape hang: after half a second the workers are those of the last look. Thread-safe.
class MetricsPage final : public prometheus::Collectable {
 public:
  // Both outlive the page.
  MetricsPage(ServerMetrics& metrics, const process::Clock& clock) : metrics_(metrics), clock_(clock) {}

  struct Sources {
    GroupCommit& commit;
    const JobMetrics& jobs;
    std::string wal_file;  // of SQLite; empty where the store is another
  };
  // Until then this server stands by, and the page says that, its build, and how its process is. Once; what is referred
  // to outlives the page, or the last scrape of it.
  void Serve(const Sources& sources);

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  void LookAtWorkers(GroupCommit& commit) const;

  ServerMetrics& metrics_;
  const process::Clock& clock_;
  mutable process::Mutex mutex_;
  std::optional<Sources> sources_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
