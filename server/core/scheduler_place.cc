// Gives queued jobs to free devices, and says why the others wait.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

// When workers come and go, this many of each class have their stored sentence changed; the others are shown the new
// one by Decorate, and a queue of a million is not rewritten.
constexpr int kRewrittenPerClass = 16;
// Sentences of classes without a job that may gather before they are swept out.
constexpr size_t kForgottenAtOnce = 1'024;

}  // namespace

void Scheduler::State::Reserve(Moment now) {
  const SteadyTime at_before = std::exchange(reserve_at, SteadyTime::max());
  const std::optional<Reservation> before = std::exchange(reserved, std::nullopt);
  const auto for_before = std::exchange(reserve_for, {});
  if (!queue.HasReady()) return;
  const auto* head = queue.Heads().front();
  const JobNeeds& needs = head->second.needs;
  const std::string id(head->second.ready.begin()->second);
  const SteadyTime due = jobs.at(id).ready_at + options.reserve_after;
  reserve_for = {id, due};
  // Whether there is a worker at all that it could have changes with the workers alone.
  if (now.steady < due && reserve_for == for_before && !workers_changed) {
    reserve_at = at_before;
    return;
  }
  const std::vector<WorkerView> views = PossibleWorkers(needs, now);
  const std::optional<size_t> worker = ChooseReserved(needs, views);
  if (!worker) return;
  if (now.steady < due) {
    reserve_at = due;
    return;
  }
  reserved = Reservation{id, views[*worker].id};
  // It stays where it was, or whoever has made room there so far has done so for nothing.
  if (!before || before->job_id != id || !workers.contains(before->worker_id)) return;
  const WorkerView kept = PlacementView(workers.at(before->worker_id), now);
  if (ChooseReserved(needs, {kept})) reserved = before;
}

void Scheduler::State::Preempt(Moment now, Changes& changes) {
  if (!options.preempting_priority) return;
  std::optional<std::vector<WorkerView>> views;
  for (const auto* head : queue.Heads()) {
    const int32_t priority = jobs.at(std::string(head->second.ready.begin()->second)).terms.priority;
    if (priority < *options.preempting_priority) continue;
    if (!views) views = AllPlacementViews(now);
    const std::optional<Victim> victim =
        ChooseVictim(head->second.needs, priority, *options.preempting_priority, *views);
    if (!victim) continue;
    JobEntry& entry = jobs.at((*views)[victim->worker].running[victim->running].job_id);
    if (entry.live->stop_wanted) continue;  // for another class
    entry.live->stop_wanted = true;
    AskToStop(entry, v1::Reason::PREEMPTED, changes);
  }
}

void Scheduler::Place(Moment now, Changes& changes) {
  State& s = *state_;
  if (!s.placement_due) return;
  s.placement_due = false;
#ifndef NDEBUG
  for (const auto& [id, worker] : s.workers) Require(s.IsFresh(worker), "a worker in a group that it has left");
#endif
  s.Reserve(now);
  while (s.queue.HasReady() && s.groups.AnyFree()) {
    const PlacementSnapshot snapshot = s.Snapshot(now);
    const std::optional<PlacementChoice> choice = ChoosePlacement(snapshot);
    if (!choice) break;
    const WorkerView& view = snapshot.workers[choice->worker];
    JobEntry& entry = s.jobs.at(snapshot.jobs[choice->job].id);
    s.Assign(entry, s.workers.at(view.id), view.devices[choice->device].device.id(), choice->from_scratch, now,
             changes);
    // The next in order is another.
    if (s.reserved && s.reserved->job_id == entry.job.id()) s.reserved.reset();
  }
  if (s.queue.HasReady()) s.Preempt(now, changes);
  s.ExplainWaits(now, changes);
}

void Scheduler::State::Assign(JobEntry& entry, WorkerEntry& worker, const std::string& device_id, bool from_scratch,
                              Moment now, Changes& changes) {
  v1::Job& job = entry.job;
  queue.Remove(job.id());
  if (reserve_for.first == job.id()) reserve_for = {};  // it may come back with other needs
  LiveAttempt& live = entry.live.emplace();
  live.assigned_at = now.steady;
  live.lease_expiry = now.steady + options.lease;
  v1::Attempt& attempt = live.attempt;
  attempt.set_job_id(job.id());
  attempt.set_number(job.attempt() + 1);
  attempt.set_world_size(1);
  Set(attempt.mutable_create_time(), now.wall);
  v1::Placement& placement = *attempt.add_placements();
  placement.set_worker_id(worker.worker.id());
  placement.add_device_ids(device_id);
  placement.set_rank_count(1);
  placement.set_token(ids.token());
  if (!from_scratch) {
    const std::vector<v1::Checkpoint> resume_from = ResumeFrom(entry, worker);
    if (!resume_from.empty()) attempt.set_resumed_from(resume_from.front().name());
  }
  job.set_attempt(attempt.number());
  job.mutable_progress()->set_worker_id(worker.worker.id());
  job.mutable_progress()->set_device(device_id);
  job.mutable_progress()->set_emulated(false);

  const AttemptKey key = entry.key();
  HeldAttempt& held = worker.held[key];
  held.ref.set_job_id(job.id());
  held.ref.set_attempt(attempt.number());
  held.ref.set_token(placement.token());
  held.device_id = device_id;
  held.memory_bytes = entry.needs.memory_bytes;
  holders[key] = worker.worker.id();

  live.assigned_revision = Touch(worker, changes);
  const Because assigned{v1::Reason::ASSIGNED, absl::StrCat("attempt ", attempt.number(), " starts on ",
                                                            worker.worker.id(), " (", device_id, ")")};
  Move(entry, {v1::Job::STARTING, v1::Attempt::STARTING}, Mover::kPlacement, assigned, assigned, now, changes);
}

void Scheduler::State::ExplainWaits(Moment now, Changes& changes) {
  std::optional<std::vector<WorkerView>> all;
  auto explain = [&](const JobNeeds& needs) {
    const std::vector<WorkerView> possible = PossibleWorkers(needs, now);
    if (possible.empty() || FitsAnywhere(needs, possible)) return ExplainWait(needs, possible);
    // What is missing is said of workers by name, and of how many.
    if (!all) all = AllPlacementViews(now);
    return ExplainWait(needs, *all);
  };
  auto tell = [&](const std::string& id, const WaitReason& wait) {
    JobEntry& entry = jobs.at(id);
    if (entry.job.reason() == wait.reason && entry.job.state_message() == wait.message) return;
    entry.job.set_reason(wait.reason);
    entry.job.set_state_message(wait.message);
    JobWrite* const pending = changes.FindJob(id);
    if (pending == nullptr) return PutJob(entry, /*new_etag=*/false, now, changes);
    pending->job.set_reason(wait.reason);
    pending->job.set_state_message(wait.message);
  };
  if (workers_changed) {
    workers_changed = false;
    waits.clear();
    for (const auto& [key, job_class] : queue.classes()) {
      const WaitReason& wait = waits[key] = explain(job_class.needs);
      int told = 0;
      for (const auto& [rank, id] : job_class.ready) {
        if (told++ == kRewrittenPerClass) break;
        tell(std::string(id), wait);
      }
    }
  }
  for (const std::string& id : newly_ready) {
    const std::string* key = queue.ClassKeyOf(id);
    if (key == nullptr) continue;  // placed, or ended
    auto [wait, is_new] = waits.try_emplace(*key);
    if (is_new) wait->second = explain(queue.classes().at(*key).needs);
    tell(id, wait->second);
  }
  newly_ready.clear();
  // Classes come and go while the workers stay the same.
  if (waits.size() > 2 * queue.classes().size() + kForgottenAtOnce) {
    std::erase_if(waits, [&](const auto& wait) { return !queue.classes().contains(wait.first); });
  }
}

int32_t Scheduler::QueuePosition(const std::string& job_id) const { return state_->queue.Position(job_id); }

void Scheduler::Decorate(v1::Job& job, Moment) const {
  const State& s = *state_;
  auto entry = s.jobs.find(job.id());
  // Another etag: what was read is of another moment, and mixing the two would tell a third story.
  if (entry == s.jobs.end() || entry->second.job.etag() != job.etag()) return;
  job.set_queue_position(s.queue.Position(job.id()));
  if (entry->second.job.has_progress()) *job.mutable_progress() = entry->second.job.progress();
  const std::string* key = s.queue.ClassKeyOf(job.id());
  if (key == nullptr) return;
  auto wait = s.waits.find(*key);
  if (wait == s.waits.end()) return;
  job.set_reason(wait->second.reason);
  job.set_state_message(wait->second.message);
}

}  // namespace mantissa::server
