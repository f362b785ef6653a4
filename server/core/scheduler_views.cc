// What placement sees of the workers, and what is kept so that it need not look at all of them.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

// A worker that still has the files of so many attempts, and one more for each of its devices, gets no more work until
// it is further: every report names them all, and every answer their files. It has enough to send by then.
constexpr int64_t kMostEnded = 16;

bool IsBehind(const WorkerEntry& worker) {
  return std::count_if(worker.held.begin(), worker.held.end(), [](const auto& held) {
           return held.second.standing == HeldAttempt::Standing::kEnded;
         }) >= kMostEnded + worker.worker.devices_size();
}

}  // namespace

std::string KindOf(const v1::Worker& worker) {
  std::string kind;
  const auto add = [&kind](const std::string& text) { absl::StrAppend(&kind, text.size(), ":", text, ";"); };
  const std::map<std::string, std::string> labels(worker.labels().begin(), worker.labels().end());
  absl::StrAppend(&kind, labels.size(), "/", worker.features_size(), "/", worker.devices_size(), ";");
  for (const auto& [name, value] : labels) {
    add(name);
    add(value);
  }
  for (const std::string& feature : worker.features()) add(feature);
  for (const v1::Device& device : worker.devices()) add(device.SerializeAsString());
  return kind;
}

void Scheduler::State::Refresh(WorkerEntry& worker) {
  const std::string& id = worker.worker.id();
  const SteadyTime next = NextDeadlineOf(worker);
  if (next != worker.deadline) {
    if (worker.deadline != SteadyTime::max()) worker_deadlines.erase({worker.deadline, id});
    worker.deadline = next;
    if (next != SteadyTime::max()) worker_deadlines.insert({next, id});
  }
  if (worker.session_id.empty()) return;
  groups.Put(id, GroupKind(worker), worker.storage_ids, BurdenOf(worker));
}

bool Scheduler::State::IsFresh(const WorkerEntry& worker) const {
  return worker.deadline == NextDeadlineOf(worker) &&
         (worker.session_id.empty() ||
          groups.Holds(worker.worker.id(), GroupKind(worker), worker.storage_ids, BurdenOf(worker)));
}

std::string Scheduler::State::GroupKind(const WorkerEntry& worker) const {
  return absl::StrCat(TakesWork(worker) ? "+" : "-", worker.kind);
}

bool Scheduler::State::TakesWork(const WorkerEntry& worker) const { return worker.present && !IsDraining(worker); }

WorkerGroups::Burden Scheduler::State::BurdenOf(const WorkerEntry& worker) const {
  WorkerGroups::Burden burden;
  if (TakesWork(worker) && !IsBehind(worker)) {
    for (int d = 0; d < worker.worker.devices_size(); ++d) burden.free |= uint64_t{1} << d;
  }
  for (const auto& [key, held] : worker.held) {
    if (held.standing == HeldAttempt::Standing::kEnded) continue;
    burden.promised_memory_bytes += held.memory_bytes;
    for (int d = 0; d < worker.worker.devices_size(); ++d) {
      if (worker.worker.devices(d).id() != held.device_id) continue;
      burden.free &= ~(uint64_t{1} << d);
      if (held.standing == HeldAttempt::Standing::kLive) ++burden.running;
    }
  }
  return burden;
}

WorkerView Scheduler::State::PlacementView(const WorkerEntry& worker, Moment now) const {
  WorkerView view;
  view.id = worker.worker.id();
  view.takes_work = TakesWork(worker);
  view.labels.insert(worker.worker.labels().begin(), worker.worker.labels().end());
  view.features.assign(worker.worker.features().begin(), worker.worker.features().end());
  view.storage_ids = worker.storage_ids;
  const bool free = !IsBehind(worker);
  for (const v1::Device& device : worker.worker.devices()) view.devices.push_back({device, free});
  for (const auto& [key, held] : worker.held) {
    if (held.standing == HeldAttempt::Standing::kEnded) continue;
    view.promised_memory_bytes += held.memory_bytes;
    for (size_t d = 0; d < view.devices.size(); ++d) {
      if (view.devices[d].device.id() != held.device_id) continue;
      view.devices[d].free = false;
      if (held.standing == HeldAttempt::Standing::kLive) view.running.push_back(Running(key, held, d, now));
    }
  }
  return view;
}

std::vector<WorkerView> Scheduler::State::PlacementViews(const std::vector<std::string>& ids, Moment now) const {
  std::vector<WorkerView> views;
  views.reserve(ids.size());
  for (const std::string& id : ids) views.push_back(PlacementView(workers.at(id), now));
  return views;
}

std::vector<WorkerView> Scheduler::State::AllPlacementViews(Moment now) const {
  std::vector<WorkerView> views;
  for (const auto& [id, worker] : workers) {
    if (!worker.session_id.empty()) views.push_back(PlacementView(worker, now));
  }
  return views;
}

std::vector<WorkerView> Scheduler::State::PossibleWorkers(const JobNeeds& needs, Moment now) const {
  std::set<std::string> storage_ids;
  if (!needs.storage_id.empty()) storage_ids.insert(needs.storage_id);
  return PlacementViews(groups.Candidates(storage_ids, /*kept=*/"", /*busy=*/true), now);
}

PlacementSnapshot Scheduler::State::Snapshot(Moment now) const {
  PlacementSnapshot snapshot;
  std::set<std::string> storage_ids;
  for (const auto* head : queue.Heads()) {
    const JobNeeds& needs = head->second.needs;
    const std::string id(head->second.ready.begin()->second);
    snapshot.jobs.push_back({id, needs, AttemptLimit(jobs.at(id))});
    if (!needs.storage_id.empty()) storage_ids.insert(needs.storage_id);
  }
  snapshot.reserved = reserved;
  const std::string kept = reserved ? reserved->worker_id : "";
  snapshot.workers = PlacementViews(groups.Candidates(storage_ids, kept, /*busy=*/false), now);
  return snapshot;
}

RunningView Scheduler::State::Running(const AttemptKey& key, const HeldAttempt& held, size_t device, Moment now) const {
  const JobEntry& entry = jobs.at(key.first);
  RunningView running;
  running.job_id = key.first;
  running.device = device;
  running.priority = entry.terms.priority;
  running.memory_bytes = held.memory_bytes;
  running.since = entry.live->assigned_at;
  running.leaving = entry.live->stop_wanted || entry.live->end || entry.job.state() == v1::Job::PAUSING ||
                    entry.job.state() == v1::Job::CANCELLING;
  const std::chrono::milliseconds limit = AttemptLimit(entry);
  if (limit != kNoLimit) {
    const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now.steady - entry.live->assigned_at);
    running.ends_within = std::max(limit - passed, std::chrono::milliseconds(0));
  }
  return running;
}

}  // namespace mantissa::server
