// One watcher's view of all jobs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "mantissa/v1/job_service.pb.h"
#include "server/store/job_store.h"
#include "server/telemetry/jobs_feed.h"

namespace mantissa::server {

struct JobsWatchOptions {
  int frame_jobs = 256;
  // About: the job that reaches it is still in the frame.
  size_t frame_bytes = 256 << 10;
};

// First every job that passes the filter, newest first; from then on every one that is written, as it is then. It
// follows before it reads, so a change is in what it reads, in what follows, or in both: never in neither. A job that
// was read after a commit that the feed had yet to hear of may be told once more as it was before it.
//
// Next may read the store and so block. Not thread-safe: one call at a time; the sleeper may be woken from any thread.
class JobsWatch {
 public:
  // `filter` has been checked.
  JobsWatch(const v1::JobFilter& filter, std::string tenant, JobStore& store, JobsFeed& feed,
            std::shared_ptr<Wakeable> sleeper, JobsWatchOptions options = {});

  // A WatchJobsResponse, encoded: what a client that does not read leaves here is bytes, a fraction of the messages.
  // Nothing when there is nothing to send until the sleeper is woken. The first frame comes even without a job.
  // UNAVAILABLE: left behind (see JobsFeed::Follower).
  absl::StatusOr<std::optional<std::string>> Next();

 private:
  absl::Status ReadStored(std::string& frame);
  absl::StatusOr<bool> TakeChanged(std::string& frame);
  bool Passes(const v1::Job& changed) const;

  const v1::JobFilter filter_;
  const std::string tenant_;
  JobStore& store_;
  const JobsWatchOptions options_;
  JobsFeed::Follower follower_;

  std::string read_before_;  // where the next page of the store begins
  bool all_read_ = false;
};

}  // namespace mantissa::server
