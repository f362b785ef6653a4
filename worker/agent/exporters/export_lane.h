// The way to one exporter: a bounded queue and a thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <variant>
#include <vector>

#include "prometheus/counter.h"

#include "mantissa/v1/trainer_frame.pb.h"
#include "process/mutex.h"
#include "worker/agent/backoff.h"
#include "worker/agent/exporters/exporter.h"
#include "worker/agent/exporters/point_sampler.h"

namespace mantissa::agent {

struct ExportOptions {
  std::chrono::milliseconds interval{1'000};   // see PointSampler
  std::size_t max_queued_bytes = 16u << 20;    // beyond it the oldest records are dropped
  std::size_t max_call_bytes = 256u << 10;     // of records that one call is given, but for the last batch
  std::chrono::milliseconds first_retry{500};  // after a call that may succeed later, doubling to
  std::chrono::milliseconds last_retry{60'000};
  std::chrono::milliseconds close_grace{2'000};  // for what is queued when the worker stops
};

// Note [Exports never touch a job]
// What the agent hands over is queued and forgotten: no call here waits for an exporter, and no failure of one comes
// back. A tool that is away is tried again, with what has queued up; a queue that is full loses its oldest records,
// counted; an attempt that a tool refuses is given up for that tool alone.
//
// Thread-safe. Destroying it lets the queue be worked off for close_grace, then aborts the exporter.
class ExportLane {
 public:
  ExportLane(std::unique_ptr<Exporter> exporter, ExportOptions options, prometheus::Counter& failures,
             prometheus::Counter& dropped_points);
  ~ExportLane();

  void Begin(const ExportedAttempt& attempt);
  void Add(const AttemptKey& key, std::shared_ptr<const v1::TelemetryBatch> batch);
  void End(const AttemptKey& key, v1::Attempt::State state);

 private:
  struct Ending {
    v1::Attempt::State state;
  };
  using Batches = std::vector<std::shared_ptr<const v1::TelemetryBatch>>;
  struct Item {
    AttemptKey key;
    std::variant<ExportedAttempt, Batches, Ending> what;
    std::size_t bytes = 0;
  };

  void Push(Item item);
  void DropOldestLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With the batches of its attempt that stand right behind it: a tool that is slow has fewer calls, of more.
  std::optional<Item> Next();
  void Run();
  void Work(const Item& item);
  static double RecordsOf(const Batches& batches);
  // Repeats what may succeed later, until it does or the worker stops.
  template <typename Call>
  absl::Status Insist(const AttemptKey& key, Call call);
  // False when the worker stops.
  bool WaitFor(std::chrono::milliseconds time);
  void GiveUp(const AttemptKey& key, const absl::Status& why);

  const ExportOptions options_;
  const std::unique_ptr<Exporter> exporter_;
  prometheus::Counter& failures_;
  prometheus::Counter& dropped_points_;

  process::Mutex mutex_;
  process::CondVar changed_;
  std::deque<Item> queue_ ABSL_GUARDED_BY(mutex_);
  std::size_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;  // nothing more comes
  bool aborted_ ABSL_GUARDED_BY(mutex_) = false;
  bool idle_ ABSL_GUARDED_BY(mutex_) = false;  // everything is done, and nothing more comes

  // The thread's own.
  std::map<AttemptKey, PointSampler> open_;
  bool failing_ = false;  // said in the log, and not again until it works

  std::thread thread_;  // last: it uses all of the above
};

}  // namespace mantissa::agent
