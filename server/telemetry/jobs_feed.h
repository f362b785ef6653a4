// The jobs that have changed, for those who watch them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/job.pb.h"
#include "process/mutex.h"
#include "server/core/changes.h"
#include "server/store/group_commit.h"
#include "server/telemetry/wake_signal.h"

namespace mantissa::server {

struct JobsFeedOptions {
  // Jobs that are kept for followers that have not taken them yet.
  size_t most_jobs = 65'536;
};

// Keeps every job that has changed, as it is now, in the order of its newest change; a follower is a position in it. So
// one that takes slowly finds the newest of each job and no step between, and costs nothing more than the others. What
// all have passed is dropped; while nobody follows, nothing is kept. Thread-safe.
class JobsFeed : public CommitListener {
 public:
  using SharedJob = std::shared_ptr<const v1::Job>;

  explicit JobsFeed(JobsFeedOptions options = {}) : options_(options) {}

  void OnCommitted(const Changes& changes) override;

  // Sees every commit from its construction on, each of which wakes `sleeper`. Used by one thread at a time.
  class Follower {
   public:
    Follower(JobsFeed& feed, std::shared_ptr<Wakeable> sleeper);
    ~Follower();
    Follower(const Follower&) = delete;
    Follower& operator=(const Follower&) = delete;

    // The next jobs that have changed, in BASIC view, those first that have changed least lately: at most `max_jobs`,
    // and no more once `max_bytes` are reached; none when there is nothing new. A deleted job has its id and
    // its tenant and nothing else. UNAVAILABLE, reason LEFT_BEHIND: some are no longer kept; begin again with a new
    // follower.
    absl::StatusOr<std::vector<SharedJob>> Take(size_t max_jobs, size_t max_bytes);

   private:
    JobsFeed& feed_;
    const WakeSignal::Subscription subscription_;
    std::multiset<int64_t>::iterator position_;  // in feed_.positions_
  };

  // For tests and for nobody else's decisions: others may change them at once.
  size_t followers() const;
  size_t kept() const;

 private:
  struct Entry {
    SharedJob job;
    size_t bytes = 0;
  };

  void PutLocked(Entry entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropFirstLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DropPassedLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const JobsFeedOptions options_;
  WakeSignal signal_;
  mutable process::Mutex mutex_;
  // 1. A job is in entries_ once, under the number of its newest change, which newest_ says.
  // 2. Every change with a number beyond lost_through_ is there until all positions have reached it.
  std::map<int64_t, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::unordered_map<std::string, int64_t> newest_ ABSL_GUARDED_BY(mutex_);
  int64_t last_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t lost_through_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of each follower: the last change that it has taken.
  std::multiset<int64_t> positions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace mantissa::server
