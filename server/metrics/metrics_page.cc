#include "server/metrics/metrics_page.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <sys/stat.h>
#include <utility>

#include "process/process_figures.h"

namespace mantissa::server {
namespace {

using prometheus::MetricFamily;

constexpr std::chrono::milliseconds kLookTimeout{500};

double Seconds(std::chrono::nanoseconds duration) {
  return std::max(0.0, std::chrono::duration<double>(duration).count());
}

// What the writer's thread is asked for; it may answer when nobody waits any more.
struct Look {
  process::Mutex mutex;
  process::CondVar answered;
  bool over ABSL_GUARDED_BY(mutex) = false;
  std::optional<FleetSummary> fleet ABSL_GUARDED_BY(mutex);
};

// Absent where the state can't be had now.
std::optional<FleetSummary> AskForFleet(GroupCommit& commit) {
  const auto look = std::make_shared<Look>();
  commit.Read({[look](const Scheduler& scheduler, Moment now) {
                 const FleetSummary fleet = scheduler.Fleet(now);
                 process::MutexLock lock(look->mutex);
                 look->fleet = fleet;
               },
               [look](const absl::Status&) {
                 process::MutexLock lock(look->mutex);
                 look->over = true;
                 look->answered.NotifyAll();
               }});
  const auto deadline = std::chrono::steady_clock::now() + kLookTimeout;
  process::MutexLock lock(look->mutex);
  while (!look->over && look->answered.WaitUntil(look->mutex, deadline)) {
  }
  return look->fleet;
}

void AppendProcess(std::vector<MetricFamily>& families) {
  for (const process::ProcessFigure& figure : process::ReadProcessFigures()) {
    MetricFamily family{
        figure.name, figure.help, figure.counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge, {}};
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    (figure.counter ? metric.counter.value : metric.gauge.value) = figure.value;
    families.push_back(std::move(family));
  }
}

}  // namespace

void MetricsPage::Serve(const Sources& sources) {
  process::MutexLock lock(mutex_);
  sources_.emplace(sources);
}

std::vector<MetricFamily> MetricsPage::Collect() const {
  std::vector<MetricFamily> families = metrics_.of_every_server->Collect();
  AppendProcess(families);
  std::optional<Sources> sources;
  {
    process::MutexLock lock(mutex_);
    if (sources_) sources.emplace(*sources_);
  }
  if (!sources) return families;
  LookAtWorkers(sources->commit);
  const std::optional<process::WallTime> since = sources->jobs.OldestQueued();
  metrics_.job_oldest_queued_seconds.Set(since ? Seconds(clock_.WallNow() - *since) : 0);
  if (!sources->wal_file.empty()) {
    struct stat info {};
    const bool there = ::stat(sources->wal_file.c_str(), &info) == 0;
    metrics_.store_wal_bytes.Add({}).Set(there ? static_cast<double>(info.st_size) : 0);
  }
  std::vector<MetricFamily> others = metrics_.registry->Collect();
  std::move(others.begin(), others.end(), std::back_inserter(families));
  return families;
}

void MetricsPage::LookAtWorkers(GroupCommit& commit) const {
  const std::optional<FleetSummary> fleet = AskForFleet(commit);
  if (!fleet) return;
  const std::pair<const char*, int64_t> states[] = {
      {"connected", fleet->connected}, {"draining", fleet->draining}, {"disconnected", fleet->disconnected}};
  for (const auto& [state, count] : states) metrics_.workers.Add({{"state", state}}).Set(static_cast<double>(count));
  metrics_.worker_oldest_report_seconds.Set(fleet->oldest_report ? Seconds(clock_.Now() - *fleet->oldest_report) : 0);
}

}  // namespace mantissa::server
