// Jobs that are to go, and the checkpoints that they leave on workers' storage.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "server/core/errors.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

// Longer than any read of the store may lag behind a commit.
constexpr size_t kRecentDeletions = 65'536;

}  // namespace

absl::Status Scheduler::Delete(const JobDeletion& deletion, const std::vector<v1::Checkpoint>& checkpoints, Moment,
                               Changes& changes) {
  State& s = *state_;
  const std::string& id = deletion.job_id;
  if (s.deleted.contains(id)) return absl::NotFoundError(absl::StrCat("job ", id, " does not exist"));
  if (s.jobs.contains(id)) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, kWrongState,
                           "the job has not ended; cancel it, and delete it then");
  }
  if (s.pins.contains(id)) {
    return ErrorWithReason(absl::StatusCode::kFailedPrecondition, kInUse,
                           "a job that has not ended begins from a checkpoint of this one (training.init_from); delete "
                           "it when that has ended");
  }
  s.deleted.insert(id);
  s.deleted_order.push_back(id);
  if (s.deleted_order.size() > kRecentDeletions) {
    s.deleted.erase(s.deleted_order.front());
    s.deleted_order.pop_front();
  }
  changes.deletions.push_back(deletion);
  // Files that were still asked for are no longer wanted; their worker is told to forget the attempt.
  for (auto holder = s.holders.lower_bound({id, 0}); holder != s.holders.end() && holder->first.first == id; ++holder) {
    WorkerEntry& worker = s.workers.at(holder->second);
    worker.held.at(holder->first).wanted.clear();
    s.Touch(worker, changes);
  }
  for (const v1::Checkpoint& checkpoint : checkpoints) {
    if (!s.IsOwed(checkpoint)) s.orphans.push_back(checkpoint);
  }
  for (auto& [worker_id, worker] : s.workers) {
    if (worker.present) s.OweOrphans(worker, changes);
  }
  return absl::OkStatus();
}

bool Scheduler::State::IsOwed(const v1::Checkpoint& checkpoint) const {
  return std::any_of(workers.begin(), workers.end(), [&](const auto& entry) {
    const std::vector<OwedDeletion>& owed = entry.second.deletions;
    return std::any_of(owed.begin(), owed.end(), [&](const OwedDeletion& other) {
      return other.deletion.ref().job_id() == checkpoint.job_id() && other.deletion.name() == checkpoint.name();
    });
  });
}

void Scheduler::State::OweOrphans(WorkerEntry& worker, Changes& changes) {
  const auto reachable = std::partition(orphans.begin(), orphans.end(), [&](const v1::Checkpoint& checkpoint) {
    return !ReachesRoot(worker, checkpoint.storage_id());
  });
  if (reachable == orphans.end()) return;
  const int64_t revision = Touch(worker, changes);
  for (auto checkpoint = reachable; checkpoint != orphans.end(); ++checkpoint) {
    v1::AttemptRef ref;
    ref.set_job_id(checkpoint->job_id());
    ref.set_attempt(checkpoint->attempt());
    worker.deletions.push_back(OwedFor(*checkpoint, ref, revision));
  }
  orphans.erase(reachable, orphans.end());
}

OwedDeletion OwedFor(const v1::Checkpoint& checkpoint, const v1::AttemptRef& ref, int64_t revision) {
  OwedDeletion owed;
  owed.checkpoint = checkpoint;
  owed.revision = revision;
  *owed.deletion.mutable_ref() = ref;
  owed.deletion.set_name(checkpoint.name());
  owed.deletion.set_storage_id(checkpoint.storage_id());
  owed.deletion.set_path(checkpoint.path());
  return owed;
}

}  // namespace mantissa::server
