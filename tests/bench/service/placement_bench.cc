// What one event costs the Scheduler with so many workers connected and so many jobs queued: in process, without store
// and sockets, as the writer's thread would run it alone (server/store/group_commit.cc).
//
//   bench_placement WORKERS JOBS      a JSON object on stdout, microseconds
//
// Workers have one CPU device and one label of four; jobs want one of the four, so they stand in four classes.
//   dispatch    a submit with all workers idle and an empty queue: it is placed
//   submit      one more job, with every device taken and JOBS waiting
//   heartbeat   a report in which nothing has changed
//   end         a report that a job has ended: the next one is placed, and its worker's desired state is read
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/resource.h>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"

#include "proto/spec/defaults.h"
#include "proto/spec/features.h"
#include "server/core/scheduler.h"

namespace {

using namespace mantissa;
using namespace mantissa::server;
using Clock = std::chrono::steady_clock;

constexpr int kZones = 4;
constexpr int kMostEvents = 2'000;
constexpr std::chrono::seconds kLongest{5};  // of one kind of event

class Fleet {
 public:
  explicit Fleet(int workers) : scheduler_(Options(), Ids()) {
    scheduler_.Load({}, now_);
    for (int i = 0; i < workers; ++i) {
      v1::SynchronizeRequest& report = reports_.emplace_back();
      report.set_worker_id(absl::StrFormat("worker-%05d", i));
      report.set_session_id("session");
      report.set_host_name("host");
      report.set_version("bench");
      v1::Device& device = *report.add_devices();
      device.set_id("cpu-0");
      device.set_kind(v1::Device::CPU);
      device.set_memory_bytes(int64_t{64} << 30);
      device.set_cpu_threads(8);
      (*report.mutable_labels())["zone"] = std::to_string(i % kZones);
      v1::Root& root = *report.add_roots();
      root.set_name("checkpoints");
      root.set_storage_id(absl::StrFormat("%08d-0000-4000-8000-000000000000", i));
      root.set_writable(true);
      for (const std::string& feature : spec::BuiltFeatures()) report.add_features(feature);
      Report(i);
    }
    for (int zone = 0; zone < kZones; ++zone) {
      v1::JobSpec spec;
      spec.set_name("bench");
      spec.mutable_training()->mutable_model()->mutable_mlp()->add_hidden(8);
      spec.mutable_training()->mutable_data()->mutable_train()->mutable_synthetic()->set_samples(64);
      spec.mutable_training()->set_iterations(1);
      (*spec.mutable_resources()->mutable_worker_selector())["zone"] = std::to_string(zone);
      specs_.push_back({spec, spec::ResolveDefaults(spec)});
    }
    Settle();
  }

  int workers() const { return static_cast<int>(reports_.size()); }

  void Submit(int zone) {
    const auto& [spec, resolved] = specs_[zone % kZones];
    if (!scheduler_.Submit(spec, resolved, "default", "", now_, changes_).ok()) std::abort();
  }

  void Report(int worker) {
    v1::SynchronizeRequest& report = reports_[worker];
    report.set_report_number(report.report_number() + 1);
    if (!scheduler_.Report(report, now_, changes_).ok()) std::abort();
  }

  void SayRunning(int worker) {
    v1::SynchronizeRequest& report = reports_[worker];
    const v1::SynchronizeResponse desired = scheduler_.DesiredState(report.worker_id(), now_);
    report.set_applied_revision(desired.desired_revision());
    report.clear_attempts();
    for (const v1::DesiredAttempt& attempt : desired.attempts()) {
      if (attempt.goal() != v1::DesiredAttempt::RUN) continue;
      v1::AttemptReport& running = *report.add_attempts();
      *running.mutable_ref() = attempt.ref();
      running.set_state(v1::Attempt::RUNNING);
    }
    Report(worker);
  }

  // The worker is given the next job in its zone, and reads that it is.
  void End(int worker) {
    reports_[worker].mutable_attempts(0)->set_state(v1::Attempt::SUCCEEDED);
    Report(worker);
    scheduler_.Place(now_, changes_);
    scheduler_.DesiredState(reports_[worker].worker_id(), now_);
  }

  // The rest of what the writer's thread does for a batch.
  void Settle() {
    if (scheduler_.NextDeadline() <= now_.steady) scheduler_.Tick(now_, changes_);
    scheduler_.Place(now_, changes_);
    changes_ = {};
    now_.steady += std::chrono::microseconds(1);
    now_.wall += std::chrono::microseconds(1);
    scheduler_.NextDeadline();
  }

 private:
  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.max_queued_jobs = 2'000'000;
    return options;
  }
  static IdSource Ids() {
    return {[next = int64_t{0}](auto) mutable { return absl::StrFormat("%026d", ++next); },
            [] { return std::string(16, 't'); }};
  }

  Scheduler scheduler_;
  Moment now_{Clock::time_point{} + std::chrono::hours(1),
              std::chrono::system_clock::time_point{} + std::chrono::hours(1)};
  Changes changes_;
  std::vector<v1::SynchronizeRequest> reports_;
  std::vector<std::pair<v1::JobSpec, v1::JobSpec>> specs_;
};

// Median time of `event(i)`, with what the writer does around it; `after(i)` is not counted.
template <class Event, class After>
double Microseconds(Fleet& fleet, Event event, After after) {
  std::vector<double> times;
  const Clock::time_point began = Clock::now();
  for (int i = 0; i < kMostEvents && Clock::now() - began < kLongest; ++i) {
    const Clock::time_point start = Clock::now();
    event(i);
    fleet.Settle();
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    after(i);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: bench_placement WORKERS JOBS\n");
    return 2;
  }
  Fleet fleet(std::atoi(argv[1]));
  const int jobs = std::atoi(argv[2]);

  // Of idle workers the first of the job's zone is taken, and is idle again before the next.
  const double dispatch = Microseconds(
      fleet, [&](int i) { fleet.Submit(i); },
      [&](int i) {
        fleet.SayRunning(i % kZones);
        fleet.End(i % kZones);
        fleet.Settle();
        fleet.SayRunning(i % kZones);  // that it holds nothing
        fleet.Settle();
      });

  for (int i = 0; i < fleet.workers(); ++i) fleet.Submit(i);
  fleet.Settle();
  for (int i = 0; i < fleet.workers(); ++i) fleet.SayRunning(i);
  fleet.Settle();
  for (int i = 0; i < jobs; ++i) {
    fleet.Submit(i);
    if (i % 512 == 0) fleet.Settle();
  }
  fleet.Settle();

  const auto nothing = [](int) {};
  const auto spread = [&](int i) { return static_cast<int>(i * int64_t{7'919} % fleet.workers()); };
  const double heartbeat = Microseconds(
      fleet, [&](int i) { fleet.Report(spread(i)); }, nothing);
  const double submit = Microseconds(
      fleet, [&](int i) { fleet.Submit(i); }, nothing);
  // Those that were submitted just now keep the queue from running out under it.
  const double end = Microseconds(
      fleet, [&](int i) { fleet.End(spread(i)); },
      [&](int i) {
        fleet.SayRunning(spread(i));
        fleet.Settle();
      });
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf(
      "{\"dispatch_us\": %.2f, \"submit_us\": %.2f, \"heartbeat_us\": %.2f, \"end_us\": %.2f, "
      "\"peak_rss_mib\": %.0f}\n",
      dispatch, submit, heartbeat, end, static_cast<double>(usage.ru_maxrss) / 1024);
}
