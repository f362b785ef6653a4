// The newest entries of every job that somebody watches.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mantissa/v1/job.pb.h"
#include "process/mutex.h"
#include "server/core/changes.h"
#include "server/store/group_commit.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

// One stored segment, encoded once for everybody it goes to.
struct EncodedSegment {
  int64_t from = 0;  // sequences it takes, both included
  int64_t to = 0;
  bool records = false;  // else an event or a gap
  // A WatchJobResponse with this one segment and nothing else: bytes of several, one after the other, parse as one
  // response with all of them.
  std::shared_ptr<const std::string> frame;
};

EncodedSegment EncodeSegment(const v1::Segment& segment);

struct TelemetryHubOptions {
  // Encoded entries kept for a watched job. Who falls behind them reads the store.
  int64_t ring_bytes = 1 << 20;
};

// Keeps a ring of recent entries for each job that is watched, fed by commits, so that followers neither read the
// store nor hold a queue: each is a position. A job that nobody watches costs nothing. Thread-safe.
class TelemetryHub : public CommitListener {
 public:
  explicit TelemetryHub(TelemetryHubOptions options = {}) : options_(options) {}

  void OnCommitted(const Changes& changes) override;

  // What is known of a watched job beyond `from`.
  struct View {
    // Contiguous from `from`; empty when there is nothing newer or the ring no longer has it.
    std::vector<EncodedSegment> segments;
    // Newest stored sequence.
    int64_t last = 0;
    // BASIC view, and a number that grows when its state, reason or attempt changes.
    std::shared_ptr<const v1::Job> job;
    int64_t job_version = 0;
  };

  // A watcher's hold on a job: from its construction every commit is seen, and wakes `sleeper`.
  class Follower {
   public:
    Follower(TelemetryHub& hub, std::string job_id, std::shared_ptr<Wakeable> sleeper);
    ~Follower();
    Follower(const Follower&) = delete;
    Follower& operator=(const Follower&) = delete;

    // What was read from the store after construction: first the job, then its newest sequence.
    void Learn(const v1::Job& job, int64_t last_sequence);
    View Look(int64_t from, int max_segments, int64_t max_bytes) const;
    // Whether the ring has the entries beyond `from`, or there are none.
    bool Has(int64_t from) const;
    const std::string& job_id() const { return job_id_; }

   private:
    TelemetryHub& hub_;
    const std::string job_id_;
    WakeSignal::Subscription subscription_;
  };

  int64_t followers() const;

 private:
  struct Ring {
    int followers = 0;
    std::deque<EncodedSegment> segments;
    int64_t bytes = 0;
    int64_t last = 0;
    std::shared_ptr<const v1::Job> job;
    int64_t job_version = 0;

    void SetJob(const v1::Job& changed);
    // The segment that begins there, or the end.
    std::deque<EncodedSegment>::const_iterator At(int64_t from) const;
  };

  const TelemetryHubOptions options_;
  WakeSignal signal_;
  mutable process::Mutex mutex_;
  std::map<std::string, Ring, std::less<>> rings_ ABSL_GUARDED_BY(mutex_);
  int64_t followers_ ABSL_GUARDED_BY(mutex_) = 0;
};

bool HasEnded(v1::Job::State state);

// Without spec and resolved_spec.
v1::Job BasicView(const v1::Job& job);

}  // namespace mantissa::server
