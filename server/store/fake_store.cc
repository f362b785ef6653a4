#include "server/store/fake_store.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "server/core/job_filter.h"
#include "server/core/job_state.h"
#include "server/core/proto_time.h"
#include "server/core/telemetry_segment.h"

namespace mantissa::server {

void FakeStore::FailCommit(absl::Status status) {
  process::MutexLock lock(mutex_);
  failures_.push_back(std::move(status));
}

void FakeStore::FailLoads(int count) {
  process::MutexLock lock(mutex_);
  failing_loads_ = count;
}

int FakeStore::commits() const {
  process::MutexLock lock(mutex_);
  return commits_;
}

absl::Status FakeStore::Commit(const Changes& changes) {
  process::MutexLock lock(mutex_);
  if (!failures_.empty()) {
    absl::Status failure = failures_.front();
    failures_.pop_front();
    return failure;
  }
  FakeTables changed = tables_;
  absl::Status status = changed.Apply(changes);
  if (!status.ok()) return status;
  tables_ = std::move(changed);
  ++commits_;
  return status;
}

absl::StatusOr<StoredState> FakeStore::Load() {
  process::MutexLock lock(mutex_);
  if (failing_loads_ > 0) {
    --failing_loads_;
    return absl::UnavailableError("the fake store was told to fail");
  }
  StoredState stored;
  stored.drained_workers.assign(tables_.drained.begin(), tables_.drained.end());
  for (const auto& [id, record] : tables_.records) {
    if (record.deleted) {
      for (const auto& [key, checkpoint] : record.checkpoints) stored.orphans.push_back(checkpoint);
      continue;
    }
    std::vector<ArtifactWrite> wanted = ArtifactsLocked(id, ArtifactWrite::Kind::kWanted);
    if (IsTerminal(record.job.state()) && wanted.empty()) continue;
    LiveJob& live = stored.jobs.emplace_back();
    live.job = record.job;
    live.times = record.times;
    live.wanted_artifacts = std::move(wanted);
    live.last_sequence = record.LastSequence();
    for (const auto& [number, attempt] : record.attempts) live.attempts.push_back(attempt);
    for (const auto& [key, checkpoint] : record.checkpoints) live.checkpoints.push_back(checkpoint);
    for (auto segment = record.telemetry.rbegin(); segment != record.telemetry.rend(); ++segment) {
      if (segment->attempt() == 0) continue;
      live.durable_attempt_sequences.push_back({segment->attempt(), LastAttemptSequence(*segment)});
      break;
    }
  }
  return stored;
}

absl::StatusOr<int64_t> FakeStore::BeginEpoch() {
  process::MutexLock lock(mutex_);
  return ++epoch_;
}

absl::StatusOr<v1::Job> FakeStore::GetJob(std::string_view job_id, std::string_view tenant) {
  process::MutexLock lock(mutex_);
  const FakeTables::Record* record = FindLocked(job_id);
  if (record == nullptr || (!tenant.empty() && record->job.tenant() != tenant)) return absl::NotFoundError("job");
  return record->job;
}

const FakeTables::Record* FakeStore::FindLocked(std::string_view job_id) const {
  auto record = tables_.records.find(job_id);
  return record == tables_.records.end() || record->second.deleted ? nullptr : &record->second;
}

absl::StatusOr<JobPage> FakeStore::ListJobs(std::string_view tenant, const v1::JobFilter& filter,
                                            std::string_view before_id, int32_t limit) {
  process::MutexLock lock(mutex_);
  JobPage page;
  for (auto record = tables_.records.rbegin(); record != tables_.records.rend(); ++record) {
    const v1::Job& job = record->second.job;
    if (record->second.deleted) continue;
    if (!tenant.empty() && job.tenant() != tenant) continue;
    if (!before_id.empty() && job.id() >= before_id) continue;
    if (!Matches(filter, job)) continue;
    if (static_cast<int32_t>(page.jobs.size()) == limit) {
      page.more = true;
      break;
    }
    page.jobs.push_back(job);
  }
  return page;
}

absl::StatusOr<std::optional<IdempotencyWrite>> FakeStore::FindIdempotency(std::string_view tenant,
                                                                           std::string_view request_id) {
  process::MutexLock lock(mutex_);
  auto known = tables_.requests.find({std::string(tenant), std::string(request_id)});
  if (known == tables_.requests.end()) return std::optional<IdempotencyWrite>();
  return std::optional<IdempotencyWrite>(known->second);
}

absl::StatusOr<std::vector<v1::Attempt>> FakeStore::ListAttempts(std::string_view job_id) {
  process::MutexLock lock(mutex_);
  std::vector<v1::Attempt> attempts;
  auto record = tables_.records.find(job_id);
  if (record == tables_.records.end()) return attempts;
  for (auto attempt = record->second.attempts.rbegin(); attempt != record->second.attempts.rend(); ++attempt) {
    attempts.push_back(attempt->second);
    attempts.back().mutable_placements(0)->clear_token();
  }
  return attempts;
}

absl::StatusOr<std::vector<v1::Checkpoint>> FakeStore::ListCheckpoints(std::string_view job_id) {
  process::MutexLock lock(mutex_);
  std::vector<v1::Checkpoint> checkpoints;
  auto record = tables_.records.find(job_id);
  if (record == tables_.records.end()) return checkpoints;
  for (const auto& [key, checkpoint] : record->second.checkpoints) checkpoints.push_back(checkpoint);
  std::reverse(checkpoints.begin(), checkpoints.end());
  return checkpoints;
}

std::vector<ArtifactWrite> FakeStore::ArtifactsLocked(std::string_view job_id, ArtifactWrite::Kind kind) const {
  std::map<std::string, ArtifactWrite> newest;
  auto record = tables_.records.find(job_id);
  if (record == tables_.records.end()) return {};
  for (const auto& [key, artifact] : record->second.artifacts) {
    if (artifact.kind == kind) newest[artifact.artifact.name()] = artifact;
  }
  std::vector<ArtifactWrite> result;
  for (const auto& [name, artifact] : newest) result.push_back(artifact);
  return result;
}

absl::StatusOr<std::vector<ArtifactWrite>> FakeStore::ListArtifacts(std::string_view job_id) {
  process::MutexLock lock(mutex_);
  return ArtifactsLocked(job_id, ArtifactWrite::Kind::kStored);
}

absl::StatusOr<std::vector<ArtifactWrite>> FakeStore::ListWantedArtifacts(std::string_view job_id) {
  process::MutexLock lock(mutex_);
  return ArtifactsLocked(job_id, ArtifactWrite::Kind::kWanted);
}

absl::StatusOr<std::optional<v1::Report>> FakeStore::GetReport(std::string_view job_id) {
  process::MutexLock lock(mutex_);
  auto record = tables_.records.find(job_id);
  return record == tables_.records.end() ? std::optional<v1::Report>() : record->second.report;
}

absl::StatusOr<TelemetryPage> FakeStore::ReadTelemetry(std::string_view job_id, int64_t from, int64_t max_bytes) {
  process::MutexLock lock(mutex_);
  TelemetryPage page;
  auto record = tables_.records.find(job_id);
  if (record == tables_.records.end()) return page;
  page.last_sequence = record->second.LastSequence();
  int64_t bytes = 0;
  for (const v1::Segment& segment : record->second.telemetry) {
    if (server::LastSequence(segment) < from) continue;
    page.segments.push_back(segment.first_sequence() >= from ? segment : FromSequence(segment, from));
    bytes += static_cast<int64_t>(segment.ByteSizeLong());
    if (bytes >= max_bytes) break;
  }
  return page;
}

absl::StatusOr<TelemetryPage> FakeStore::ListEvents(std::string_view job_id, int64_t from,
                                                    v1::JobEvent::Severity min_severity, int32_t limit) {
  process::MutexLock lock(mutex_);
  TelemetryPage page;
  auto record = tables_.records.find(job_id);
  if (record == tables_.records.end()) return page;
  page.last_sequence = record->second.LastSequence();
  for (const v1::Segment& segment : record->second.telemetry) {
    if (!segment.has_event() || segment.first_sequence() < from || segment.event().severity() < min_severity) continue;
    if (static_cast<int32_t>(page.segments.size()) == limit) break;
    page.segments.push_back(segment);
  }
  return page;
}

absl::StatusOr<int64_t> FakeStore::CountEvents(std::string_view job_id, int64_t from, int64_t through) {
  process::MutexLock lock(mutex_);
  auto record = tables_.records.find(job_id);
  if (record == tables_.records.end()) return 0;
  return std::count_if(record->second.telemetry.begin(), record->second.telemetry.end(), [&](const v1::Segment& entry) {
    return entry.has_event() && entry.first_sequence() >= from && entry.first_sequence() <= through;
  });
}

absl::StatusOr<std::vector<TelemetryRun>> FakeStore::ListTelemetryRuns(std::string_view job_id, int64_t from,
                                                                       int32_t limit) {
  process::MutexLock lock(mutex_);
  auto record = tables_.records.find(job_id);
  if (record == tables_.records.end()) return std::vector<TelemetryRun>();
  std::vector<TelemetryRun> runs = record->second.Runs();
  std::erase_if(runs, [&](const TelemetryRun& run) { return run.first_sequence < from; });
  if (static_cast<int32_t>(runs.size()) > limit) runs.resize(limit);
  return runs;
}

absl::StatusOr<std::vector<std::string>> FakeStore::ListUncompactedJobs(std::string_view after_id, int32_t limit) {
  process::MutexLock lock(mutex_);
  std::vector<std::string> ids;
  for (auto record = tables_.records.upper_bound(after_id); record != tables_.records.end(); ++record) {
    if (static_cast<int32_t>(ids.size()) == limit) break;
    if (record->second.uncompacted && !record->second.deleted && IsTerminal(record->second.job.state())) {
      ids.push_back(record->first);
    }
  }
  return ids;
}

absl::StatusOr<std::vector<DeletedJob>> FakeStore::ListDeletedJobs(std::string_view after_id, int32_t limit) {
  process::MutexLock lock(mutex_);
  std::vector<DeletedJob> deleted;
  for (auto record = tables_.records.upper_bound(after_id); record != tables_.records.end(); ++record) {
    if (static_cast<int32_t>(deleted.size()) == limit) break;
    if (!record->second.deleted) continue;
    deleted.push_back({record->first, !record->second.telemetry.empty(), !record->second.checkpoints.empty()});
  }
  return deleted;
}

absl::StatusOr<std::vector<JobDeletion>> FakeStore::ListExpiredJobs(const RetentionQuery& query, int32_t limit) {
  process::MutexLock lock(mutex_);
  std::multimap<int64_t, JobDeletion> ended;  // oldest first
  for (const auto& [id, record] : tables_.records) {
    if (record.deleted || !IsTerminal(record.job.state())) continue;
    ended.emplace(ToMicros(record.job.end_time()), JobDeletion{id, record.job.etag(), record.job.tenant()});
  }
  int64_t before = query.ended_before_micros;
  if (query.keep_newest > 0 && static_cast<int64_t>(ended.size()) >= query.keep_newest) {
    before = std::max(before, std::next(ended.rbegin(), query.keep_newest - 1)->first);
  }
  std::vector<JobDeletion> expired;
  for (const auto& [micros, deletion] : ended) {
    if (micros >= before || static_cast<int32_t>(expired.size()) == limit) break;
    expired.push_back(deletion);
  }
  return expired;
}

}  // namespace mantissa::server
