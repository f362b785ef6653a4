#include "server/store/fake_tables.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

#include "server/core/job_state.h"
#include "server/core/telemetry_segment.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server {
namespace {

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

int64_t FakeTables::Record::LastSequence() const {
  return telemetry.empty() ? 0 : server::LastSequence(telemetry.back());
}

std::vector<TelemetryRun> FakeTables::Record::Runs() const {
  std::vector<TelemetryRun> runs;
  for (const v1::Segment& segment : telemetry) {
    if (segment.has_event()) continue;
    auto chunk = chunks.upper_bound(segment.first_sequence());
    const bool in_chunk = chunk != chunks.begin() && std::prev(chunk)->second.last_sequence >= segment.first_sequence();
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

absl::Status FakeTables::Apply(const Changes& changes) {
  absl::Status status;
  const auto each = [&](const auto& writes, auto apply) {
    for (auto write = writes.begin(); status.ok() && write != writes.end(); ++write) status = (this->*apply)(*write);
  };
  each(changes.jobs, &FakeTables::PutJob);
  each(changes.attempts, &FakeTables::PutAttempt);
  each(changes.checkpoints, &FakeTables::PutCheckpoint);
  each(changes.deleted_checkpoints, &FakeTables::EraseCheckpoint);
  each(changes.artifacts, &FakeTables::PutArtifact);
  each(changes.reports, &FakeTables::PutReport);
  each(changes.telemetry, &FakeTables::AppendTelemetry);
  each(changes.idempotency, &FakeTables::PutRequest);
  each(changes.compactions, &FakeTables::Compact);
  each(changes.compacted_jobs, &FakeTables::MarkCompacted);
  each(changes.deletions, &FakeTables::DeleteJob);
  each(changes.sweeps, &FakeTables::Sweep);
  each(changes.drains, &FakeTables::PutDrain);
  return status;
}

absl::Status FakeTables::PutJob(const JobWrite& write) {
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
  return absl::OkStatus();
}

absl::Status FakeTables::PutAttempt(const AttemptWrite& write) {
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
  return absl::OkStatus();
}

absl::Status FakeTables::PutCheckpoint(const v1::Checkpoint& checkpoint) {
  auto record = records.find(checkpoint.job_id());
  if (record == records.end()) return absl::AbortedError("checkpoint without a job");
  auto [row, is_new] =
      record->second.checkpoints.try_emplace({checkpoint.attempt(), checkpoint.step(), checkpoint.name()}, checkpoint);
  if (!is_new && row->second.manifest_sha256() != checkpoint.manifest_sha256()) {
    return absl::AbortedError("checkpoint");
  }
  row->second = checkpoint;
  return absl::OkStatus();
}

absl::Status FakeTables::EraseCheckpoint(const std::string& deleted) {
  const size_t slash = deleted.find('/');
  auto record = records.find(deleted.substr(0, slash));
  if (record == records.end()) return absl::OkStatus();
  std::erase_if(record->second.checkpoints,
                [&](const auto& row) { return row.second.name() == deleted.substr(slash + 1); });
  return absl::OkStatus();
}

absl::Status FakeTables::PutArtifact(const ArtifactWrite& write) {
  auto record = records.find(write.job_id);
  if (record == records.end()) return absl::AbortedError("artifact without a job");
  auto& artifacts = record->second.artifacts;
  const std::pair<int32_t, std::string> key(write.attempt, write.artifact.name());
  if (write.kind != ArtifactWrite::Kind::kLost) {
    artifacts[key] = write;
  } else if (artifacts.count(key) > 0 && artifacts[key].kind == ArtifactWrite::Kind::kWanted) {
    artifacts.erase(key);
  }
  return absl::OkStatus();
}

absl::Status FakeTables::PutReport(const ReportWrite& write) {
  auto record = records.find(write.job_id);
  if (record == records.end()) return absl::AbortedError("report without a job");
  record->second.report.emplace().ParseFromString(write.report);
  return absl::OkStatus();
}

absl::Status FakeTables::AppendTelemetry(const TelemetryWrite& write) {
  auto record = records.find(write.job_id);
  if (record == records.end()) return absl::AbortedError("telemetry without a job");
  if (write.segment.first_sequence() != record->second.LastSequence() + 1) return absl::AbortedError("sequence");
  if (!write.segment.has_event()) record->second.uncompacted = true;
  record->second.telemetry.push_back(write.segment);
  return absl::OkStatus();
}

absl::Status FakeTables::PutRequest(const IdempotencyWrite& write) {
  if (!requests.emplace(std::pair(write.tenant, write.request_id), write).second) return absl::AbortedError("request");
  return absl::OkStatus();
}

absl::Status FakeTables::Compact(const TelemetryCompaction& compaction) {
  auto record = records.find(compaction.job_id);
  if (record == records.end()) return absl::OkStatus();
  const std::vector<TelemetryRun> runs = record->second.Runs();
  const auto within = [&](const TelemetryRun& run) {
    return run.first_sequence >= compaction.first_sequence && run.last_sequence <= compaction.last_sequence;
  };
  if (std::count_if(runs.begin(), runs.end(), within) != compaction.rows) return absl::OkStatus();
  auto& chunks = record->second.chunks;
  chunks.erase(chunks.lower_bound(compaction.first_sequence), chunks.upper_bound(compaction.last_sequence));
  chunks[compaction.first_sequence] = compaction;
  if (IsThinnedChunk(compaction.chunk)) PutThinned(compaction, record->second.telemetry);
  return absl::OkStatus();
}

absl::Status FakeTables::MarkCompacted(const std::string& job_id) {
  if (auto record = records.find(job_id); record != records.end()) record->second.uncompacted = false;
  return absl::OkStatus();
}

absl::Status FakeTables::DeleteJob(const JobDeletion& deletion) {
  auto record = records.find(deletion.job_id);
  const bool there = record != records.end() && !record->second.deleted && IsTerminal(record->second.job.state());
  if (!there || record->second.job.etag() != deletion.expected_etag) return absl::AbortedError("deleted job");
  record->second.deleted = true;
  return absl::OkStatus();
}

absl::Status FakeTables::Sweep(const JobSweep& sweep) {
  auto record = records.find(sweep.job_id);
  if (record == records.end() || !record->second.deleted) return absl::OkStatus();
  auto& telemetry = record->second.telemetry;
  if (!telemetry.empty()) {
    telemetry.pop_back();
  } else if (sweep.last && record->second.checkpoints.empty()) {
    records.erase(record);
  }
  return absl::OkStatus();
}

absl::Status FakeTables::PutDrain(const DrainWrite& write) {
  write.drained ? void(drained.insert(write.worker_id)) : void(drained.erase(write.worker_id));
  return absl::OkStatus();
}

}  // namespace mantissa::server
