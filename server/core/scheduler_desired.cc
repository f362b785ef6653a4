// What a worker is told: the whole of what it should have, every time.
#include "absl/strings/str_cat.h"

#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

v1::DesiredAttempt::Goal GoalOf(const JobEntry& entry, bool draining) {
  // What has ended there waits for its telemetry; there is nothing left to stop.
  if (entry.live->end) return v1::DesiredAttempt::RUN;
  if (entry.job.state() == v1::Job::CANCELLING) return v1::DesiredAttempt::CANCEL;
  if (draining || entry.job.state() == v1::Job::PAUSING || entry.live->stop_wanted) {
    return v1::DesiredAttempt::STOP_WITH_CHECKPOINT;
  }
  return v1::DesiredAttempt::RUN;
}

}  // namespace

v1::SynchronizeResponse Scheduler::DesiredState(const std::string& worker_id, Moment) const {
  const State& s = *state_;
  v1::SynchronizeResponse response;
  response.set_server_epoch(s.options.epoch);
  Set(response.mutable_next_call(), s.options.next_call);
  Set(response.mutable_lease(), s.options.lease);
  auto found = s.workers.find(worker_id);
  if (found == s.workers.end()) return response;
  const WorkerEntry& worker = found->second;
  response.set_report_number(worker.report_number);
  response.set_desired_revision(worker.revision);
  const bool draining = s.IsDraining(worker);
  response.set_drain(draining);

  for (const auto& [key, held] : worker.held) {
    if (held.standing == HeldAttempt::Standing::kDismissed) continue;
    v1::DesiredAttempt& desired = *response.add_attempts();
    *desired.mutable_ref() = held.ref;
    if (held.standing == HeldAttempt::Standing::kEnded) {
      // It keeps the files until they are here.
      desired.set_goal(held.wanted.empty() ? v1::DesiredAttempt::FORGET : v1::DesiredAttempt::RUN);
      for (const v1::Artifact& artifact : held.wanted) {
        v1::ArtifactRequest& request = *response.add_artifacts();
        *request.mutable_ref() = held.ref;
        *request.mutable_artifact() = artifact;
      }
      continue;
    }
    const JobEntry& entry = s.jobs.at(key.first);
    desired.set_goal(GoalOf(entry, draining));
    if (desired.goal() != v1::DesiredAttempt::RUN || entry.live->acknowledged) continue;

    v1::Assignment& assignment = *desired.mutable_assignment();
    *assignment.mutable_spec() = ResolvedSpec(entry.specs);
    *assignment.mutable_placement() = entry.live->placement();
    assignment.set_world_size(entry.live->attempt.world_size());
    if (!entry.live->attempt.resumed_from().empty()) {
      for (v1::Checkpoint& checkpoint : s.ResumeFrom(entry, worker))
        *assignment.add_resume_from() = std::move(checkpoint);
    }
    if (entry.job.has_lineage()) *assignment.mutable_lineage() = entry.job.lineage();
    if (entry.job.has_init_from()) *assignment.mutable_init_from() = entry.job.init_from();
    v1::CommittedCheckpoints& committed = *assignment.mutable_committed();
    for (const v1::Checkpoint& checkpoint : entry.checkpoints) committed.add_names(checkpoint.name());
    assignment.set_tenant(entry.job.tenant());
    assignment.set_trace_id(entry.job.trace_id());
    Set(assignment.mutable_start_timeout(), entry.terms.timeouts.start);
    Set(assignment.mutable_disconnect_grace(), s.options.disconnect_grace);
  }
  for (const OwedDeletion& owed : worker.deletions) *response.add_deletions() = owed.deletion;
  return response;
}

int64_t Scheduler::DesiredRevision(const std::string& worker_id) const {
  auto worker = state_->workers.find(worker_id);
  return worker == state_->workers.end() ? 0 : worker->second.revision;
}

}  // namespace mantissa::server
