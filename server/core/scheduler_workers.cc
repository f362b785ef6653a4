// What operators ask of workers.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "server/core/scheduler_state.h"

namespace mantissa::server {

bool Scheduler::State::IsDraining(const WorkerEntry& worker) const {
  return worker.worker.draining() || drained.contains(worker.worker.id());
}

absl::StatusOr<v1::Worker> Scheduler::DrainWorker(const std::string& worker_id, bool undo, Moment now,
                                                  Changes& changes) {
  State& s = *state_;
  const auto worker = s.workers.find(worker_id);
  const bool known = worker != s.workers.end();
  const bool was = s.drained.contains(worker_id);
  if (!known && !(undo && was)) return absl::NotFoundError(absl::StrCat("worker ", worker_id, " was never heard of"));
  if (was == undo) {
    undo ? void(s.drained.erase(worker_id)) : void(s.drained.insert(worker_id));
    changes.drains.push_back({worker_id, !undo});
    s.workers_changed = s.placement_due = true;
    if (known) s.Touch(worker->second, changes);
  }
  if (!known) {
    v1::Worker forgotten;
    forgotten.set_id(worker_id);
    return forgotten;
  }
  return s.View(worker->second, now);
}

std::vector<v1::Worker> Scheduler::Workers(Moment now) const {
  std::vector<v1::Worker> result;
  for (const auto& [id, entry] : state_->workers) result.push_back(state_->View(entry, now));
  return result;
}

FleetSummary Scheduler::Fleet(Moment now) const {
  const State& s = *state_;
  FleetSummary fleet;
  for (const auto& [id, entry] : s.workers) {
    if (!s.IsConnected(entry, now)) {
      ++fleet.disconnected;
    } else {
      ++(s.IsDraining(entry) ? fleet.draining : fleet.connected);
    }
    if (entry.session_id.empty()) continue;
    fleet.oldest_report = std::min(fleet.oldest_report.value_or(entry.last_seen), entry.last_seen);
  }
  return fleet;
}

bool Scheduler::State::IsConnected(const WorkerEntry& worker, Moment now) const {
  return !worker.session_id.empty() && now.steady < worker.last_seen + options.lease;
}

v1::Worker Scheduler::State::View(const WorkerEntry& entry, Moment now) const {
  v1::Worker worker = entry.worker;
  worker.set_connected(IsConnected(entry, now));
  worker.set_draining(IsDraining(entry));
  worker.set_drain_requested(drained.contains(entry.worker.id()));
  for (const auto& [key, held] : entry.held) {
    if (held.standing != HeldAttempt::Standing::kLive) continue;
    v1::AttemptRef& ref = *worker.add_attempts();
    ref.set_job_id(key.first);
    ref.set_attempt(key.second);
  }
  return worker;
}

}  // namespace mantissa::server
