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
// A worker that still has the files of so many attempts gets no more work until it is further: every report names them
// all, and every answer their files.
constexpr int64_t kMostEnded = 64;

bool IsBehind(const WorkerEntry& worker) {
  return std::count_if(worker.held.begin(), worker.held.end(), [](const auto& held) {
           return held.second.standing == HeldAttempt::Standing::kEnded;
         }) >= kMostEnded;
}

}  // namespace

std::vector<WorkerView> Scheduler::State::WorkerViews(Moment now) const {
  std::vector<WorkerView> views;
  for (const auto& [id, worker] : workers) {
    if (worker.session_id.empty()) continue;
    WorkerView& view = views.emplace_back();
    view.id = id;
    view.takes_work = worker.present && !IsDraining(worker);
    view.labels.insert(worker.worker.labels().begin(), worker.worker.labels().end());
    view.features.assign(worker.worker.features().begin(), worker.worker.features().end());
    for (const v1::Root& root : worker.worker.roots()) view.storage_ids.insert(root.storage_id());
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
  }
  return views;
}

RunningView Scheduler::State::Running(const AttemptKey& key, const HeldAttempt& held, size_t device, Moment now) const {
  const JobEntry& entry = jobs.at(key.first);
  RunningView running;
  running.job_id = key.first;
  running.device = device;
  running.priority = entry.job.resolved_spec().priority();
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

WaitingJob Scheduler::State::Waiting(const std::string& job_id, const JobNeeds& needs) const {
  return {job_id, needs, AttemptLimit(jobs.at(job_id))};
}

void Scheduler::State::Reserve(PlacementSnapshot& snapshot, Moment now) {
  reserve_at = SteadyTime::max();
  const std::optional<Reservation> before = std::exchange(reserved, std::nullopt);
  if (!queue.HasReady()) return;
  const auto* head = queue.Heads().front();
  const std::string& id = head->second.ready.begin()->second;
  const std::optional<size_t> worker = ChooseReserved(head->second.needs, snapshot.workers);
  if (!worker) return;
  const SteadyTime due = jobs.at(id).ready_at + options.reserve_after;
  if (now.steady < due) {
    reserve_at = due;
    return;
  }
  reserved = Reservation{id, snapshot.workers[*worker].id};
  // It stays where it was, or whoever has made room there so far has done so for nothing.
  const bool same = before && before->job_id == id;
  const bool still = same && std::any_of(snapshot.workers.begin(), snapshot.workers.end(), [&](const WorkerView& view) {
                       return view.id == before->worker_id && ChooseReserved(head->second.needs, {view}).has_value();
                     });
  if (still) reserved = before;
  snapshot.reserved = reserved;
}

void Scheduler::State::Preempt(const std::vector<WorkerView>& views, Changes& changes) {
  if (!options.preempting_priority) return;
  for (const auto* head : queue.Heads()) {
    const int32_t priority = jobs.at(head->second.ready.begin()->second).job.resolved_spec().priority();
    if (priority < *options.preempting_priority) continue;
    const std::optional<Victim> victim =
        ChooseVictim(head->second.needs, priority, *options.preempting_priority, views);
    if (!victim) continue;
    JobEntry& entry = jobs.at(views[victim->worker].running[victim->running].job_id);
    if (entry.live->stop_wanted) continue;  // for another class
    entry.live->stop_wanted = true;
    AskToStop(entry, v1::Reason::PREEMPTED, changes);
  }
}

void Scheduler::Place(Moment now, Changes& changes) {
  State& s = *state_;
  if (!s.placement_due) return;
  s.placement_due = false;
  PlacementSnapshot snapshot;
  snapshot.workers = s.WorkerViews(now);
  s.Reserve(snapshot, now);

  while (s.queue.HasReady()) {
    const bool any_free = std::any_of(snapshot.workers.begin(), snapshot.workers.end(), [](const WorkerView& worker) {
      return worker.takes_work && std::any_of(worker.devices.begin(), worker.devices.end(),
                                              [](const DeviceView& device) { return device.free; });
    });
    if (!any_free) break;
    snapshot.jobs.clear();
    for (const auto* head : s.queue.Heads()) {
      snapshot.jobs.push_back(s.Waiting(head->second.ready.begin()->second, head->second.needs));
    }
    const std::optional<PlacementChoice> choice = ChoosePlacement(snapshot);
    if (!choice) break;
    WorkerView& view = snapshot.workers[choice->worker];
    JobEntry& entry = s.jobs.at(snapshot.jobs[choice->job].id);
    view.devices[choice->device].free = false;
    view.promised_memory_bytes += entry.needs.memory_bytes;
    s.Assign(entry, s.workers.at(view.id), view.devices[choice->device].device.id(), choice->from_scratch, now,
             changes);
    // The next in order is another.
    if (snapshot.jobs[choice->job].id == (s.reserved ? s.reserved->job_id : "")) {
      s.reserved.reset();
      snapshot.reserved.reset();
    }
  }
  if (s.queue.HasReady()) s.Preempt(snapshot.workers, changes);
  s.ExplainWaits(snapshot.workers, now, changes);
}

void Scheduler::State::Assign(JobEntry& entry, WorkerEntry& worker, const std::string& device_id, bool from_scratch,
                              Moment now, Changes& changes) {
  v1::Job& job = entry.job;
  queue.Remove(job.id());
  entry.lost.reset();
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

void Scheduler::State::ExplainWaits(const std::vector<WorkerView>& views, Moment now, Changes& changes) {
  auto tell = [&](const std::string& id, const WaitReason& wait) {
    JobEntry& entry = jobs.at(id);
    if (entry.job.reason() == wait.reason && entry.job.state_message() == wait.message) return;
    entry.job.set_reason(wait.reason);
    entry.job.set_state_message(wait.message);
    PutJob(entry, /*new_etag=*/false, now, changes);
  };
  if (workers_changed) {
    workers_changed = false;
    waits.clear();
    for (const auto& [key, job_class] : queue.classes()) {
      const WaitReason& wait = waits[key] = ExplainWait(job_class.needs, views);
      int told = 0;
      for (const auto& [rank, id] : job_class.ready) {
        if (told++ == kRewrittenPerClass) break;
        tell(id, wait);
      }
    }
  }
  for (const std::string& id : newly_ready) {
    const std::string* key = queue.ClassKeyOf(id);
    if (key == nullptr) continue;  // placed, or ended
    auto [wait, is_new] = waits.try_emplace(*key);
    if (is_new) wait->second = ExplainWait(queue.classes().at(*key).needs, views);
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
