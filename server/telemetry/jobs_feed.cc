#include "server/telemetry/jobs_feed.h"

#include <utility>

#include "absl/status/status.h"

#include "server/core/errors.h"

namespace mantissa::server {
namespace {

using process::MutexLock;

constexpr char kAnyJob[] = "";  // the one name of the signal

}  // namespace

void JobsFeed::OnCommitted(const Changes& changes) {
  if (changes.jobs.empty() && changes.deletions.empty()) return;
  {
    // Who begins to follow later reads the store later, and this commit is in it.
    MutexLock lock(mutex_);
    if (positions_.empty()) return;
  }
  // Copied outside the lock, for that is the costly part.
  std::vector<Entry> entries;
  entries.reserve(changes.jobs.size() + changes.deletions.size());
  const auto add = [&entries](SharedJob job) {
    const size_t bytes = job->ByteSizeLong();
    entries.push_back({std::move(job), bytes});
  };
  for (const JobWrite& write : changes.jobs) add(std::make_shared<const v1::Job>(write.job));
  // After the jobs: one that ends and goes in the same commit has gone.
  for (const JobDeletion& deletion : changes.deletions) {
    auto gone = std::make_shared<v1::Job>();
    gone->set_id(deletion.job_id);
    gone->set_tenant(deletion.tenant);
    add(std::move(gone));
  }
  {
    MutexLock lock(mutex_);
    for (Entry& entry : entries) PutLocked(std::move(entry));
    // The last follower may have left meanwhile.
    DropPassedLocked();
    while (entries_.size() > options_.most_jobs) {
      lost_through_ = entries_.begin()->first;
      DropFirstLocked();
    }
  }
  signal_.Notify(kAnyJob);
}

void JobsFeed::PutLocked(Entry entry) {
  int64_t& newest = newest_[entry.job->id()];
  if (newest != 0) entries_.erase(newest);
  newest = ++last_;
  entries_.emplace_hint(entries_.end(), last_, std::move(entry));
}

void JobsFeed::DropFirstLocked() {
  newest_.erase(entries_.begin()->second.job->id());
  entries_.erase(entries_.begin());
}

void JobsFeed::DropPassedLocked() {
  while (!entries_.empty() && (positions_.empty() || entries_.begin()->first <= *positions_.begin())) {
    DropFirstLocked();
  }
}

size_t JobsFeed::followers() const {
  MutexLock lock(mutex_);
  return positions_.size();
}

size_t JobsFeed::kept() const {
  MutexLock lock(mutex_);
  return entries_.size();
}

JobsFeed::Follower::Follower(JobsFeed& feed, std::shared_ptr<Wakeable> sleeper)
    : feed_(feed), subscription_(feed.signal_, kAnyJob, std::move(sleeper)) {
  MutexLock lock(feed_.mutex_);
  position_ = feed_.positions_.insert(feed_.last_);
}

JobsFeed::Follower::~Follower() {
  MutexLock lock(feed_.mutex_);
  feed_.positions_.erase(position_);
  feed_.DropPassedLocked();
}

absl::StatusOr<std::vector<JobsFeed::SharedJob>> JobsFeed::Follower::Take(size_t max_jobs, size_t max_bytes) {
  std::vector<SharedJob> taken;
  MutexLock lock(feed_.mutex_);
  int64_t position = *position_;
  if (position < feed_.lost_through_) {
    return ErrorWithReason(absl::StatusCode::kUnavailable, "LEFT_BEHIND",
                           "more jobs have changed than are kept for a client that reads this slowly; watch again, "
                           "which begins with every job as it is");
  }
  size_t bytes = 0;
  for (auto next = feed_.entries_.upper_bound(position);
       next != feed_.entries_.end() && taken.size() < max_jobs && bytes < max_bytes; ++next) {
    position = next->first;
    bytes += next->second.bytes;
    taken.push_back(next->second.job);
  }
  if (taken.empty()) return taken;
  feed_.positions_.erase(position_);
  position_ = feed_.positions_.insert(position);
  feed_.DropPassedLocked();
  return taken;
}

}  // namespace mantissa::server
