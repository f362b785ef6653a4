#include "server/program/job_log.h"

#include "mantissa/v1/telemetry.pb.h"
#include "process/log.h"

namespace mantissa::server {
namespace {

using process::Level;
using process::Log;

bool HasAttemptAtWork(v1::Job::State state) {
  return state == v1::Job::STARTING || state == v1::Job::RUNNING || state == v1::Job::PAUSING ||
         state == v1::Job::CANCELLING;
}

// As this commit writes it; null where it does not.
const v1::Job* Written(const Changes& changes, const std::string& job_id) {
  const auto at = changes.job_index.find(job_id);
  return at == changes.job_index.end() ? nullptr : &changes.jobs[at->second].job;
}

void LogMove(const v1::Job& job, const v1::StateChange& change) {
  Log(Level::kInfo, change.from() == v1::Job::STATE_UNSPECIFIED ? "job submitted" : "job moved",
      {{"job", job.id()},
       {"attempt", change.attempt()},
       {"trace_id", job.trace_id()},
       {"tenant", job.tenant()},
       {"state", v1::Job::State_Name(change.to())},
       {"reason", v1::Reason::Code_Name(change.reason())}});
}

void LogCheckpoint(const v1::Checkpoint& checkpoint, const std::string& trace_id) {
  Log(Level::kInfo, "checkpoint committed",
      {{"job", checkpoint.job_id()},
       {"attempt", checkpoint.attempt()},
       {"trace_id", trace_id},
       {"checkpoint", checkpoint.name()},
       {"step", checkpoint.step()},
       {"bytes", checkpoint.size_bytes()}});
}

}  // namespace

void JobLog::Follow(const v1::Job& job) {
  if (HasAttemptAtWork(job.state())) {
    trace_ids_.try_emplace(job.id(), job.trace_id());
  } else {
    trace_ids_.erase(job.id());
  }
}

void JobLog::OnCommitted(const Changes& changes) {
  // Before the end of a job that the same commit may bring.
  for (const v1::Checkpoint& checkpoint : changes.checkpoints) {
    const auto followed = trace_ids_.find(checkpoint.job_id());
    const v1::Job* const written = Written(changes, checkpoint.job_id());
    if (followed != trace_ids_.end()) {
      LogCheckpoint(checkpoint, followed->second);
    } else if (written != nullptr) {  // its attempt was taken for lost until this commit
      LogCheckpoint(checkpoint, written->trace_id());
    }
  }
  for (const TelemetryWrite& write : changes.telemetry) {
    if (!write.segment.event().has_state_change()) continue;
    const v1::Job* const job = Written(changes, write.job_id);  // whatever moves a job writes it, too
    if (job == nullptr) continue;
    LogMove(*job, write.segment.event().state_change());
    Follow(*job);
  }
}

}  // namespace mantissa::server
