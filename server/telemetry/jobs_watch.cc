#include "server/telemetry/jobs_watch.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "server/core/encoded_field.h"
#include "server/core/job_filter.h"

namespace mantissa::server {
namespace {

// Jobs are read in lots, so that a frame of the largest is cut at its bytes before all of it is in memory.
constexpr int32_t kLot = 32;

bool IsGone(const v1::Job& changed) { return changed.state() == v1::Job::STATE_UNSPECIFIED; }

void AppendJob(const v1::Job& job, std::string& frame) {
  AppendEncodedField(v1::WatchJobsResponse::kJobsFieldNumber, job, frame);
}

}  // namespace

JobsWatch::JobsWatch(const v1::JobFilter& filter, std::string tenant, JobStore& store, JobsFeed& feed,
                     std::shared_ptr<Wakeable> sleeper, JobsWatchOptions options)
    : filter_(filter),
      tenant_(std::move(tenant)),
      store_(store),
      options_(options),
      follower_(feed, std::move(sleeper)) {}

absl::StatusOr<std::optional<std::string>> JobsWatch::Next() {
  std::string frame;
  if (!all_read_) {
    const absl::Status read = ReadStored(frame);
    if (!read.ok()) return read;
    return frame;
  }
  while (frame.empty()) {
    const absl::StatusOr<bool> more = TakeChanged(frame);
    if (!more.ok()) return more.status();
    if (!*more) return std::nullopt;
  }
  return frame;
}

absl::Status JobsWatch::ReadStored(std::string& frame) {
  int jobs = 0;
  while (!all_read_ && jobs < options_.frame_jobs && frame.size() < options_.frame_bytes) {
    absl::StatusOr<JobPage> lot =
        store_.ListJobs(tenant_, filter_, read_before_, std::min(kLot, options_.frame_jobs - jobs));
    if (!lot.ok()) return lot.status();
    all_read_ = !lot->more || lot->jobs.empty();
    for (v1::Job& job : lot->jobs) {
      if (frame.size() >= options_.frame_bytes) {  // the rest is read again
        all_read_ = false;
        break;
      }
      read_before_ = job.id();
      job.clear_spec();
      job.clear_resolved_spec();
      AppendJob(job, frame);
      ++jobs;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> JobsWatch::TakeChanged(std::string& frame) {
  const auto changed = follower_.Take(static_cast<size_t>(options_.frame_jobs), options_.frame_bytes);
  if (!changed.ok()) return changed.status();
  for (const JobsFeed::SharedJob& job : *changed) {
    if (!Passes(*job)) continue;
    if (!IsGone(*job)) {
      AppendJob(*job, frame);
    } else {
      v1::Job gone;
      gone.set_id(job->id());
      AppendJob(gone, frame);
    }
  }
  return !changed->empty();
}

bool JobsWatch::Passes(const v1::Job& changed) const {
  if (!tenant_.empty() && changed.tenant() != tenant_) return false;
  // Of a job that is gone nothing else is known: whoever has it can forget it.
  if (IsGone(changed)) return true;
  return MatchesButState(filter_, changed);
}

}  // namespace mantissa::server
