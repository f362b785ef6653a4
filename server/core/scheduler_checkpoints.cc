// Checkpoints that are committed, resumed from and let go; artifacts that arrive.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "server/core/checkpoint_policy.h"
#include "server/core/errors.h"
#include "server/core/proto_time.h"
#include "server/core/scheduler_state.h"

namespace mantissa::server {
namespace {

std::vector<v1::Artifact>::const_iterator FindWanted(const HeldAttempt& held, const v1::Artifact& artifact) {
  return std::find_if(held.wanted.begin(), held.wanted.end(), [&](const v1::Artifact& other) {
    return other.name() == artifact.name() && other.sha256() == artifact.sha256() &&
           other.size_bytes() == artifact.size_bytes();
  });
}

}  // namespace

std::vector<size_t> Scheduler::State::Deletable(const JobEntry& entry) const {
  const int32_t keep = entry.terms.keep_checkpoints;
  std::vector<size_t> deletable =
      DeletableCheckpoints(entry.checkpoints, keep, entry.live ? entry.live->attempt.resumed_from() : "");
  if (auto pinned = pins.find(entry.job.id()); pinned != pins.end()) {
    std::erase_if(deletable, [&](size_t i) { return pinned->second.contains(entry.checkpoints[i].name()); });
  }
  return deletable;
}

bool ReachesRoot(const WorkerEntry& worker, const std::string& storage_id) {
  return std::any_of(worker.worker.roots().begin(), worker.worker.roots().end(),
                     [&](const v1::Root& root) { return root.storage_id() == storage_id; });
}

bool ReachesStorage(const WorkerEntry& worker, const JobEntry& entry) {
  return entry.needs.storage_id.empty() || ReachesRoot(worker, entry.needs.storage_id);
}

absl::StatusOr<v1::Checkpoint> Scheduler::State::ConfirmInitial(const v1::InitFrom& init_from,
                                                                const v1::Checkpoint& found) const {
  const auto gone = [&] {
    return absl::UnavailableError(absl::StrCat("training.init_from: checkpoint ", found.name(), " of job ",
                                               found.job_id(), " was being replaced; try again"));
  };
  if (auto source = jobs.find(found.job_id()); source != jobs.end()) {
    const v1::Checkpoint* checkpoint =
        ChooseInitial(source->second.checkpoints, Deletable(source->second), init_from.step());
    if (checkpoint == nullptr) return gone();
    return *checkpoint;
  }
  // The job has ended, and nothing of it will be deleted that is not on its way already.
  for (const auto& [id, worker] : workers) {
    for (const OwedDeletion& owed : worker.deletions) {
      if (owed.deletion.ref().job_id() == found.job_id() && owed.deletion.name() == found.name()) return gone();
    }
  }
  return found;
}

void Scheduler::State::Pin(const v1::Job& job) {
  if (job.has_init_from()) ++pins[job.init_from().job_id()][job.init_from().name()];
}

void Scheduler::State::Unpin(const v1::Job& job) {
  if (!job.has_init_from()) return;
  const auto source = pins.find(job.init_from().job_id());
  Require(source != pins.end(), "a job whose beginning was not kept for it");
  const auto pinned = source->second.find(job.init_from().name());
  if (--pinned->second == 0) source->second.erase(pinned);
  if (source->second.empty()) pins.erase(source);
}

std::vector<v1::Checkpoint> Scheduler::State::ResumeFrom(const JobEntry& entry, const WorkerEntry& worker) const {
  const std::vector<size_t> deletable = Deletable(entry);
  std::vector<v1::Checkpoint> usable;
  const v1::Checkpoint* generation_zero = nullptr;
  for (size_t i = entry.checkpoints.size(); i-- > 0;) {
    const v1::Checkpoint& checkpoint = entry.checkpoints[i];
    if (checkpoint.abandoned() || std::binary_search(deletable.begin(), deletable.end(), i)) continue;
    if (!ReachesRoot(worker, checkpoint.storage_id())) continue;
    if (IsGenerationZero(checkpoint)) {
      generation_zero = &checkpoint;
    } else {
      usable.push_back(checkpoint);
    }
  }
  // Only by itself: nobody asked for a run to begin anew because its later generations are damaged.
  if (usable.empty() && generation_zero != nullptr) usable.push_back(*generation_zero);
  return usable;
}

void Scheduler::State::RefreshStorage(JobEntry& entry) const {
  // Generation 0 is rebuilt anywhere, from the seed or from what the job was initialised from.
  const auto newest = std::find_if(
      entry.checkpoints.rbegin(), entry.checkpoints.rend(),
      [](const v1::Checkpoint& checkpoint) { return !checkpoint.abandoned() && !IsGenerationZero(checkpoint); });
  const bool none = newest == entry.checkpoints.rend();
  entry.needs.initialises = none && entry.job.has_init_from();
  entry.needs.storage_id = none ? entry.job.init_from().storage_id() : newest->storage_id();
}

absl::StatusOr<v1::CommitCheckpointResponse> Scheduler::CommitCheckpoint(const v1::CommitCheckpointRequest& request,
                                                                         Moment now, Changes& changes) {
  State& s = *state_;
  auto found = s.FindOrRevive(request.ref(), now, changes);
  if (!found.ok()) return found.status();
  JobEntry& entry = **found;

  v1::Checkpoint checkpoint = request.checkpoint();
  checkpoint.set_job_id(entry.job.id());
  checkpoint.set_attempt(request.ref().attempt());
  absl::Status valid = CheckCheckpoint(checkpoint);
  if (!valid.ok()) return valid;

  auto row = std::find_if(entry.checkpoints.begin(), entry.checkpoints.end(),
                          [&](const v1::Checkpoint& known) { return known.name() == checkpoint.name(); });
  if (row != entry.checkpoints.end()) {
    if (row->manifest_sha256() != checkpoint.manifest_sha256()) {
      return ErrorWithReason(absl::StatusCode::kAlreadyExists, kCheckpointConflict,
                             absl::StrCat("checkpoint ", checkpoint.name(), " was committed with another manifest"));
    }
    // The same once more; only that it is the last one may be news.
    if (checkpoint.final() && !row->final()) {
      row->set_final(true);
      changes.checkpoints.push_back(*row);
    }
    checkpoint = *row;
  } else {
    if (!entry.checkpoints.empty() && entry.checkpoints.back().attempt() == checkpoint.attempt() &&
        entry.checkpoints.back().step() > checkpoint.step()) {
      return ErrorWithReason(absl::StatusCode::kFailedPrecondition, kCheckpointConflict,
                             absl::StrCat("checkpoint ", entry.checkpoints.back().name(), " is newer"));
    }
    Set(checkpoint.mutable_create_time(), now.wall);
    entry.checkpoints.push_back(checkpoint);
    changes.checkpoints.push_back(checkpoint);
  }

  WorkerEntry& worker = s.workers.at(entry.live->placement().worker_id());
  s.OweDeletions(entry, worker, changes);
  v1::CommitCheckpointResponse response;
  *response.mutable_checkpoint() = checkpoint;
  for (const OwedDeletion& owed : worker.deletions) {
    if (owed.deletion.ref().job_id() == entry.job.id()) *response.add_deletions() = owed.deletion;
  }
  return response;
}

void Scheduler::State::OweDeletions(JobEntry& entry, WorkerEntry& worker, Changes& changes) {
  std::vector<const v1::Checkpoint*> owed;
  for (size_t i : Deletable(entry)) {
    const v1::Checkpoint& checkpoint = entry.checkpoints[i];
    if (ReachesRoot(worker, checkpoint.storage_id()) && !IsOwed(checkpoint)) owed.push_back(&checkpoint);
  }
  if (owed.empty()) return;
  const int64_t revision = Touch(worker, changes);
  v1::AttemptRef ref;
  ref.set_job_id(entry.job.id());
  ref.set_attempt(entry.live->attempt.number());
  ref.set_token(entry.live->placement().token());
  for (const v1::Checkpoint* checkpoint : owed) worker.deletions.push_back(OwedFor(*checkpoint, ref, revision));
}

void Scheduler::State::ForgetCheckpoint(const v1::CheckpointDeletion& deletion, Changes& changes) {
  changes.deleted_checkpoints.push_back(absl::StrCat(deletion.ref().job_id(), "/", deletion.name()));
  auto entry = jobs.find(deletion.ref().job_id());
  if (entry == jobs.end()) return;
  std::erase_if(entry->second.checkpoints,
                [&](const v1::Checkpoint& checkpoint) { return checkpoint.name() == deletion.name(); });
}

absl::Status Scheduler::CheckWanted(const v1::AttemptRef& ref, const v1::Artifact& artifact) const {
  const HeldAttempt* held = state_->FindHeld(ref);
  if (held == nullptr) return LeaseLost(ref);
  if (FindWanted(*held, artifact) != held->wanted.end()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("artifact ", artifact.name(), " of this size and hash is not asked for, or is here already"));
}

absl::Status Scheduler::RecordArtifact(const v1::AttemptRef& ref, const v1::Artifact& artifact, Moment now,
                                       Changes& changes) {
  State& s = *state_;
  absl::Status is_wanted = CheckWanted(ref, artifact);
  if (!is_wanted.ok()) return is_wanted;
  const AttemptKey key(ref.job_id(), ref.attempt());
  WorkerEntry& worker = s.workers.at(s.holders.at(key));
  HeldAttempt& held = worker.held.at(key);
  const auto wanted = FindWanted(held, artifact);
  v1::Artifact stored = *wanted;
  Set(stored.mutable_create_time(), now.wall);
  held.wanted.erase(wanted);
  changes.artifacts.push_back({ref.job_id(), ref.attempt(), std::move(stored), ArtifactWrite::Kind::kStored});
  // With the last one the attempt may be forgotten; of the others the worker knows by the answer to its upload.
  if (held.wanted.empty()) s.Touch(worker, changes);
  return absl::OkStatus();
}

}  // namespace mantissa::server
