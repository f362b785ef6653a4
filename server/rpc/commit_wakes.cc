#include "server/rpc/commit_wakes.h"

namespace mantissa::server {

void CommitWakes::OnCommitted(const Changes& changes) {
  for (const std::string& worker_id : changes.touched_workers) workers_.Notify(worker_id);
  for (const AttemptWrite& write : changes.attempts) logs_.Notify(write.attempt.job_id());
  // A job that is cancelled before it was ever tried has no attempt to tell of.
  for (const JobWrite& write : changes.jobs) logs_.Notify(write.job.id());
  for (const std::string& job_id : changes.silent_jobs) logs_.Notify(job_id);
}

}  // namespace mantissa::server
