#include "server/store/fake_store.h"

#include <algorithm>

#include "server/core/job_state.h"
#include "server/core/telemetry_segment.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server {
namespace {

int64_t Nanos(const google::protobuf::Timestamp& time) { return time.seconds() * 1'000'000'000 + time.nanos(); }

bool Matches(const v1::Job& job, const v1::JobFilter& filter) {
  if (filter.states_size() > 0 &&
      std::find(filter.states().begin(), filter.states().end(), job.state()) == filter.states().end()) {
    return false;
  }
  if (!filter.name().empty() && filter.name() != job.name()) return false;
  for (const auto& [name, value] : filter.labels()) {
    auto label = job.labels().find(name);
    if (label == job.labels().end() || label->second != value) return false;
  }
  if (filter.has_created_after() && Nanos(job.create_time()) <= Nanos(filter.created_after())) return false;
  return !filter.has_created_before() || Nanos(job.create_time()) < Nanos(filter.created_before());
}

// In the place of the records that they stand for.
void PutThinned(const TelemetryCompaction& compaction, std::vector<v1::Segment>& telemetry) {
  std::vector<v1::Segment> thinned;
  if (!DecodeTelemetryChunk(compaction.chunk, thinned).ok()) return;
  std::erase_if(telemetry, [&](const v1::Segment& segment) {
    return !segment.has_event() && segment.first_sequence() >= compaction.first_sequence &&
           LastSequence(segment) <= compaction.last_sequence;
  });
  telemetry.insert(telemetry.end(), thinned.begin(), thinned.end());
  std::stable_sort(telemetry.begin(), telemetry.end(),
                   [](const v1::Segment& a, const v1::Segment& b) { return a.first_sequence() < b.first_sequence(); });
}

}  // namespace

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
  Records records = records_;
  Requests requests = requests_;
  absl::Status status = Apply(changes, records, requests);
  if (!status.ok()) return status;
  records_ = std::move(records);
  requests_ = std::move(requests);
  for (const DrainWrite& write : changes.drains) {
    write.drained ? void(drained_.insert(write.worker_id)) : void(drained_.erase(write.worker_id));
  }
  ++commits_;
  return status;
}

absl::Status FakeStore::Apply(const Changes& changes, Records& records, Requests& requests) {
  for (const JobWrite& write : changes.jobs) {
    auto known = records.find(write.job.id());
    const bool is_new = known == records.end();
    if (write.expected_etag.empty() != is_new) return absl::AbortedError("job");
    if (!is_new && (known->second.job.etag() != write.expected_etag || IsTerminal(known->second.job.state()))) {
      return absl::AbortedError("job etag");
    }
    Record& record = records[write.job.id()];
    const v1::Job before = std::exchange(record.job, write.job);
    if (write.specs.empty()) {
      *record.job.mutable_spec() = before.spec();
      *record.job.mutable_resolved_spec() = before.resolved_spec();
    } else {
      record.job.MergeFromString(write.specs);
    }
    record.times = write.times;
  }
  for (const AttemptWrite& write : changes.attempts) {
    auto record = records.find(write.attempt.job_id());
    if (record == records.end()) return absl::AbortedError("attempt without a job");
    auto& attempts = record->second.attempts;
    const int32_t number = write.attempt.number();
    if (!write.guard) {
      if (number != (attempts.empty() ? 1 : attempts.rbegin()->first + 1)) return absl::AbortedError("attempt number");
    } else {
      auto known = attempts.find(number);
      if (known == attempts.end() || known->second.placements(0).token() != write.guard->token ||
          std::find(write.guard->states.begin(), write.guard->states.end(), known->second.state()) ==
              write.guard->states.end()) {
        return absl::AbortedError("attempt guard");
      }
    }
    const std::string token = write.guard ? write.guard->token : write.attempt.placements(0).token();
    attempts[number] = write.attempt;
    attempts[number].mutable_placements(0)->set_token(token);
  }
  for (const v1::Checkpoint& checkpoint : changes.checkpoints) {
    auto record = records.find(checkpoint.job_id());
    if (record == records.end()) return absl::AbortedError("checkpoint without a job");
    auto [row, is_new] = record->second.checkpoints.try_emplace(
        {checkpoint.attempt(), checkpoint.step(), checkpoint.name()}, checkpoint);
    if (!is_new && row->second.manifest_sha256() != checkpoint.manifest_sha256()) {
      return absl::AbortedError("checkpoint");
    }
    row->second = checkpoint;
  }
  for (const std::string& deleted : changes.deleted_checkpoints) {
    const size_t slash = deleted.find('/');
    auto record = records.find(deleted.substr(0, slash));
    if (record == records.end()) continue;
    std::erase_if(record->second.checkpoints,
                  [&](const auto& row) { return row.second.name() == deleted.substr(slash + 1); });
  }
  for (const ArtifactWrite& write : changes.artifacts) {
    auto record = records.find(write.job_id);
    if (record == records.end()) return absl::AbortedError("artifact without a job");
    auto& artifacts = record->second.artifacts;
    const std::pair<int32_t, std::string> key(write.attempt, write.artifact.name());
    if (write.kind != ArtifactWrite::Kind::kLost) {
      artifacts[key] = write;
    } else if (artifacts.count(key) > 0 && artifacts[key].kind == ArtifactWrite::Kind::kWanted) {
      artifacts.erase(key);
    }
  }
  for (const ReportWrite& write : changes.reports) {
    auto record = records.find(write.job_id);
    if (record == records.end()) return absl::AbortedError("report without a job");
    record->second.report.emplace().ParseFromString(write.report);
  }
  for (const TelemetryWrite& write : changes.telemetry) {
    auto record = records.find(write.job_id);
    if (record == records.end()) return absl::AbortedError("telemetry without a job");
    if (write.segment.first_sequence() != LastSequence(record->second) + 1) return absl::AbortedError("sequence");
    if (!write.segment.has_event()) record->second.uncompacted = true;
    record->second.telemetry.push_back(write.segment);
  }
  for (const IdempotencyWrite& write : changes.idempotency) {
    if (!requests.emplace(std::pair(write.tenant, write.request_id), write).second)
      return absl::AbortedError("request");
  }
  for (const TelemetryCompaction& compaction : changes.compactions) {
    auto record = records.find(compaction.job_id);
    if (record == records.end()) continue;
    const std::vector<TelemetryRun> runs = RunsOf(record->second);
    const auto within = [&](const TelemetryRun& run) {
      return run.first_sequence >= compaction.first_sequence && run.last_sequence <= compaction.last_sequence;
    };
    if (std::count_if(runs.begin(), runs.end(), within) != compaction.rows) continue;
    auto& chunks = record->second.chunks;
    chunks.erase(chunks.lower_bound(compaction.first_sequence), chunks.upper_bound(compaction.last_sequence));
    chunks[compaction.first_sequence] = compaction;
    if (IsThinnedChunk(compaction.chunk)) PutThinned(compaction, record->second.telemetry);
  }
  for (const std::string& job_id : changes.compacted_jobs) {
    if (auto record = records.find(job_id); record != records.end()) record->second.uncompacted = false;
  }
  for (const JobDeletion& deletion : changes.deletions) {
    auto record = records.find(deletion.job_id);
    const bool there = record != records.end() && !record->second.deleted && IsTerminal(record->second.job.state());
    if (!there || record->second.job.etag() != deletion.expected_etag) return absl::AbortedError("deleted job");
    record->second.deleted = true;
  }
  for (const JobSweep& sweep : changes.sweeps) {
    auto record = records.find(sweep.job_id);
    if (record == records.end() || !record->second.deleted) continue;
    auto& telemetry = record->second.telemetry;
    if (!telemetry.empty()) {
      telemetry.pop_back();
    } else if (sweep.last && record->second.checkpoints.empty()) {
      records.erase(record);
    }
  }
  return absl::OkStatus();
}

int64_t FakeStore::LastSequence(const Record& record) {
  if (record.telemetry.empty()) return 0;
  return server::LastSequence(record.telemetry.back());
}

std::vector<TelemetryRun> FakeStore::RunsOf(const Record& record) {
  std::vector<TelemetryRun> runs;
  for (const v1::Segment& segment : record.telemetry) {
    if (segment.has_event()) continue;
    auto chunk = record.chunks.upper_bound(segment.first_sequence());
    const bool in_chunk =
        chunk != record.chunks.begin() && std::prev(chunk)->second.last_sequence >= segment.first_sequence();
    if (!in_chunk) {
      runs.push_back({segment.first_sequence(), server::LastSequence(segment),
                      static_cast<int64_t>(segment.ByteSizeLong()), false, false});
    } else if (const TelemetryCompaction& of = std::prev(chunk)->second;
               of.first_sequence == segment.first_sequence()) {
      runs.push_back(
          {of.first_sequence, of.last_sequence, static_cast<int64_t>(of.chunk.size()), true, IsThinnedChunk(of.chunk)});
    }
  }
  return runs;
}

absl::StatusOr<StoredState> FakeStore::Load() {
  process::MutexLock lock(mutex_);
  if (failing_loads_ > 0) {
    --failing_loads_;
    return absl::UnavailableError("the fake store was told to fail");
  }
  StoredState stored;
  stored.drained_workers.assign(drained_.begin(), drained_.end());
  for (const auto& [id, record] : records_) {
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
    live.last_sequence = LastSequence(record);
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
  const Record* record = FindLocked(job_id);
  if (record == nullptr || (!tenant.empty() && record->job.tenant() != tenant)) return absl::NotFoundError("job");
  return record->job;
}

const FakeStore::Record* FakeStore::FindLocked(std::string_view job_id) const {
  auto record = records_.find(job_id);
  return record == records_.end() || record->second.deleted ? nullptr : &record->second;
}

absl::StatusOr<JobPage> FakeStore::ListJobs(std::string_view tenant, const v1::JobFilter& filter,
                                            std::string_view before_id, int32_t limit) {
  process::MutexLock lock(mutex_);
  JobPage page;
  for (auto record = records_.rbegin(); record != records_.rend(); ++record) {
    const v1::Job& job = record->second.job;
    if (record->second.deleted) continue;
    if (!tenant.empty() && job.tenant() != tenant) continue;
    if (!before_id.empty() && job.id() >= before_id) continue;
    if (!Matches(job, filter)) continue;
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
  auto known = requests_.find({std::string(tenant), std::string(request_id)});
  if (known == requests_.end()) return std::optional<IdempotencyWrite>();
  return std::optional<IdempotencyWrite>(known->second);
}

absl::StatusOr<std::vector<v1::Attempt>> FakeStore::ListAttempts(std::string_view job_id) {
  process::MutexLock lock(mutex_);
  std::vector<v1::Attempt> attempts;
  auto record = records_.find(job_id);
  if (record == records_.end()) return attempts;
  for (auto attempt = record->second.attempts.rbegin(); attempt != record->second.attempts.rend(); ++attempt) {
    attempts.push_back(attempt->second);
    attempts.back().mutable_placements(0)->clear_token();
  }
  return attempts;
}

absl::StatusOr<std::vector<v1::Checkpoint>> FakeStore::ListCheckpoints(std::string_view job_id) {
  process::MutexLock lock(mutex_);
  std::vector<v1::Checkpoint> checkpoints;
  auto record = records_.find(job_id);
  if (record == records_.end()) return checkpoints;
  for (const auto& [key, checkpoint] : record->second.checkpoints) checkpoints.push_back(checkpoint);
  std::reverse(checkpoints.begin(), checkpoints.end());
  return checkpoints;
}

std::vector<ArtifactWrite> FakeStore::ArtifactsLocked(std::string_view job_id, ArtifactWrite::Kind kind) const {
  std::map<std::string, ArtifactWrite> newest;
  auto record = records_.find(job_id);
  if (record == records_.end()) return {};
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
  auto record = records_.find(job_id);
  return record == records_.end() ? std::optional<v1::Report>() : record->second.report;
}

absl::StatusOr<TelemetryPage> FakeStore::ReadTelemetry(std::string_view job_id, int64_t from, int64_t max_bytes) {
  process::MutexLock lock(mutex_);
  TelemetryPage page;
  auto record = records_.find(job_id);
  if (record == records_.end()) return page;
  page.last_sequence = LastSequence(record->second);
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
  auto record = records_.find(job_id);
  if (record == records_.end()) return page;
  page.last_sequence = LastSequence(record->second);
  for (const v1::Segment& segment : record->second.telemetry) {
    if (!segment.has_event() || segment.first_sequence() < from || segment.event().severity() < min_severity) continue;
    if (static_cast<int32_t>(page.segments.size()) == limit) break;
    page.segments.push_back(segment);
  }
  return page;
}

absl::StatusOr<int64_t> FakeStore::CountEvents(std::string_view job_id, int64_t from, int64_t through) {
  process::MutexLock lock(mutex_);
  auto record = records_.find(job_id);
  if (record == records_.end()) return 0;
  return std::count_if(record->second.telemetry.begin(), record->second.telemetry.end(), [&](const v1::Segment& entry) {
    return entry.has_event() && entry.first_sequence() >= from && entry.first_sequence() <= through;
  });
}

absl::StatusOr<std::vector<TelemetryRun>> FakeStore::ListTelemetryRuns(std::string_view job_id, int64_t from,
                                                                       int32_t limit) {
  process::MutexLock lock(mutex_);
  auto record = records_.find(job_id);
  if (record == records_.end()) return std::vector<TelemetryRun>();
  std::vector<TelemetryRun> runs = RunsOf(record->second);
  std::erase_if(runs, [&](const TelemetryRun& run) { return run.first_sequence < from; });
  if (static_cast<int32_t>(runs.size()) > limit) runs.resize(limit);
  return runs;
}

absl::StatusOr<std::vector<std::string>> FakeStore::ListUncompactedJobs(std::string_view after_id, int32_t limit) {
  process::MutexLock lock(mutex_);
  std::vector<std::string> ids;
  for (auto record = records_.upper_bound(after_id); record != records_.end(); ++record) {
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
  for (auto record = records_.upper_bound(after_id); record != records_.end(); ++record) {
    if (static_cast<int32_t>(deleted.size()) == limit) break;
    if (!record->second.deleted) continue;
    deleted.push_back({record->first, !record->second.telemetry.empty(), !record->second.checkpoints.empty()});
  }
  return deleted;
}

absl::StatusOr<std::vector<JobDeletion>> FakeStore::ListExpiredJobs(const RetentionQuery& query, int32_t limit) {
  process::MutexLock lock(mutex_);
  std::multimap<int64_t, JobDeletion> ended;  // oldest first
  for (const auto& [id, record] : records_) {
    if (record.deleted || !IsTerminal(record.job.state())) continue;
    ended.emplace(Nanos(record.job.end_time()) / 1'000, JobDeletion{id, record.job.etag(), record.job.tenant()});
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
