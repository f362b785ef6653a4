#include "server/store/telemetry_compactor.h"

#include <limits>
#include <utility>

#include "process/failpoint.h"
#include "process/log.h"
#include "server/core/job_state.h"
#include "server/core/telemetry_segment.h"
#include "server/core/thinning.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server {
namespace {

using process::Level;
using process::Log;

constexpr int32_t kJobsAtOnce = 64;
constexpr int32_t kRunsAtOnce = 4'096;
constexpr int64_t kReadBytes = int64_t{256} << 10;

// One without a severity would be among the records, and is kept with them.
bool HasOwnRow(const v1::Segment& segment) { return segment.has_event() && segment.event().severity() > 0; }

// Gaps among them counted.
int64_t RecordsOf(const TelemetryRun& run) { return run.last_sequence - run.first_sequence + 1; }

}  // namespace

std::optional<RunsToCompact> ChooseRuns(const std::vector<TelemetryRun>& runs, bool whole) {
  RunsToCompact chosen;
  int64_t records = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool can = !runs[i].compact && RecordsOf(runs[i]) <= kChunkSpan;
    const bool joins = can && chosen.begin < i && records + RecordsOf(runs[i]) <= kChunkRecords &&
                       runs[i].last_sequence - runs[chosen.begin].first_sequence < kChunkSpan;
    if (chosen.begin < i && !joins) {
      chosen.end = i;
      return chosen;
    }
    records = joins ? records + RecordsOf(runs[i]) : RecordsOf(runs[i]);
    if (!can) chosen.begin = i + 1;
  }
  if (!whole || chosen.begin >= runs.size()) return std::nullopt;
  chosen.end = runs.size();
  return chosen;
}

TelemetryCompactor::TelemetryCompactor(JobStore& store, const process::Clock& clock, TelemetryCompactorOptions options)
    : store_(store), clock_(clock), options_(options) {}

TelemetryCompactor::~TelemetryCompactor() { Stop(); }

void TelemetryCompactor::Start(GroupCommit& commit) {
  thread_ = std::thread([this, &commit] { Run(commit); });
}

void TelemetryCompactor::Stop() {
  {
    process::MutexLock lock(mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

bool TelemetryCompactor::stopping() {
  process::MutexLock lock(mutex_);
  return stopping_;
}

void TelemetryCompactor::Rest(std::chrono::milliseconds time) {
  process::MutexLock lock(mutex_);
  const auto until = clock_.Now() + time;
  while (!stopping_) {
    const auto now = clock_.Now();
    if (now >= until) return;
    wake_.WaitFor(mutex_, until - now);
  }
}

void TelemetryCompactor::OnCommitted(const Changes& changes) {
  process::MutexLock lock(mutex_);
  bool wake = false;
  for (const TelemetryWrite& write : changes.telemetry) {
    if (!write.segment.has_records()) continue;
    int64_t& records = records_[write.job_id];
    records += write.segment.count();
    if (records < kChunkRecords) continue;
    records = 0;
    due_.insert(write.job_id);
    wake = true;
  }
  for (const JobWrite& write : changes.jobs) {
    if (!IsTerminal(write.job.state())) continue;
    records_.erase(write.job.id());
    some_ended_ = wake = true;
  }
  if (wake) wake_.NotifyAll();
}

void TelemetryCompactor::Run(GroupCommit& commit) {
  while (true) {
    {
      process::MutexLock lock(mutex_);
      const auto until = clock_.Now() + options_.interval;
      while (due_.empty() && !some_ended_ && !stopping_) {
        const auto now = clock_.Now();
        if (now >= until) some_ended_ = true;
        if (now < until) wake_.WaitFor(mutex_, until - now);
      }
      if (stopping_) return;
    }
    const absl::Status compacted = CompactOnce(commit);
    if (compacted.ok() || stopping()) continue;
    Log(Level::kWarning, "old telemetry could not all be put together; tried again later", {{"error", compacted}});
    Rest(options_.interval);
  }
}

absl::Status TelemetryCompactor::CompactOnce(GroupCommit& commit) {
  std::set<std::string> due;
  bool some_ended = false;
  {
    process::MutexLock lock(mutex_);
    due.swap(due_);
    some_ended = std::exchange(some_ended_, false);
  }
  absl::Status status;
  for (const std::string& job_id : due) {
    if (status.ok() && !stopping()) status = CompactJob(commit, job_id, /*ended=*/false);
  }
  if (status.ok() && some_ended) status = CompactEnded(commit);
  if (status.ok()) return status;
  // Where it broke off is not known to be mended by the time that somebody else is due.
  process::MutexLock lock(mutex_);
  due_.merge(due);
  some_ended_ = true;
  return status;
}

absl::Status TelemetryCompactor::CompactEnded(GroupCommit& commit) {
  std::string after_id;
  while (!stopping()) {
    absl::StatusOr<std::vector<std::string>> jobs = store_.ListUncompactedJobs(after_id, kJobsAtOnce);
    if (!jobs.ok()) return jobs.status();
    if (jobs->empty()) return absl::OkStatus();
    for (const std::string& job_id : *jobs) {
      const absl::Status status = CompactJob(commit, job_id, /*ended=*/true);
      if (!status.ok()) return status;
      if (stopping()) return absl::OkStatus();
      next_.erase(job_id);
      next_whole_.erase(job_id);
    }
    after_id = jobs->back();
    const absl::Status status =
        commit.Commit([&](Scheduler&, Moment, Changes& changes) { changes.compacted_jobs = *std::move(jobs); });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status TelemetryCompactor::CompactJob(GroupCommit& commit, const std::string& job_id, bool ended) {
  // What says how far the job has come stays as it is.
  absl::StatusOr<TelemetryPage> newest = store_.ReadTelemetry(job_id, std::numeric_limits<int64_t>::max(), 0);
  if (!newest.ok()) return newest.status();
  absl::Status status = PutTogether(commit, job_id, ended, newest->last_sequence);
  if (status.ok()) status = Thin(commit, job_id, ended, newest->last_sequence);
  if (absl::IsDataLoss(status)) {
    Log(Level::kError, "telemetry of a job is damaged; its rows are left as they are",
        {{"job", job_id}, {"error", status}});
    return absl::OkStatus();
  }
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status TelemetryCompactor::PutTogether(GroupCommit& commit, const std::string& job_id, bool ended,
                                             int64_t newest) {
  int64_t next = 1;
  if (const auto known = next_.find(job_id); known != next_.end()) next = known->second;
  while (!stopping()) {
    absl::StatusOr<std::vector<TelemetryRun>> runs = store_.ListTelemetryRuns(job_id, next, kRunsAtOnce);
    if (!runs.ok()) return runs.status();
    const bool all = static_cast<int32_t>(runs->size()) < kRunsAtOnce;
    if (!runs->empty() && (!ended || runs->back().last_sequence >= newest)) runs->pop_back();
    if (runs->empty()) return absl::OkStatus();
    const std::optional<RunsToCompact> chosen = ChooseRuns(*runs, ended && all);
    if (!chosen) {
      // Of a full listing something could be chosen, unless all of it is chunks.
      const TelemetryRun& last = runs->back();
      if (!last.compact && all) return absl::OkStatus();
      next = last.last_sequence + 1;
      continue;
    }
    const int64_t first = (*runs)[chosen->begin].first_sequence, last = (*runs)[chosen->end - 1].last_sequence;
    absl::StatusOr<std::vector<v1::Segment>> segments = Read(job_id, first, last);
    if (!segments.ok()) return segments.status();
    std::erase_if(*segments, HasOwnRow);
    next = last + 1;
    const auto rows = static_cast<int64_t>(chosen->end - chosen->begin);
    TelemetryCompaction compaction{job_id, first, last, rows, EncodeTelemetryChunk(*segments)};
    int64_t bytes = 0;
    for (size_t i = chosen->begin; i < chosen->end; ++i) bytes += (*runs)[i].bytes;
    if (bytes <= static_cast<int64_t>(compaction.chunk.size())) continue;
    const absl::Status status = Replace(commit, std::move(compaction));
    if (!status.ok()) return status;
    if (!ended) next_[job_id] = next;
  }
  return absl::OkStatus();
}

absl::Status TelemetryCompactor::Thin(GroupCommit& commit, const std::string& job_id, bool ended, int64_t newest) {
  const int64_t old = options_.full_records > 0 ? newest - options_.full_records : 0;
  int64_t next = 1;
  if (const auto known = next_whole_.find(job_id); known != next_whole_.end()) next = known->second;
  // Every row ends at an event or a gap, for it has to answer for its own sequences and no others.
  ThinningPlan plan;
  plan.records_per_row = kThinnedRecords;
  plan.extra_rows = kChunkSpan;
  while (next <= old && !stopping()) {
    absl::StatusOr<std::vector<TelemetryRun>> runs = store_.ListTelemetryRuns(job_id, next, kRunsAtOnce);
    if (!runs.ok()) return runs.status();
    if (runs->empty()) return absl::OkStatus();
    for (const TelemetryRun& run : *runs) {
      const bool may_yet_be_compact = !ended && !run.compact && RecordsOf(run) <= kChunkSpan;
      if (run.last_sequence > old || may_yet_be_compact || stopping()) return absl::OkStatus();
      next = next_whole_[job_id] = run.last_sequence + 1;
      if (!run.compact || run.thinned) continue;
      absl::StatusOr<std::vector<v1::Segment>> whole = Read(job_id, run.first_sequence, run.last_sequence);
      if (!whole.ok()) return whole.status();
      Thinning thinning(plan);
      for (const v1::Segment& segment : *whole) thinning.Add(segment);
      thinning.Finish();
      std::vector<v1::Segment> thinned = thinning.Take();
      std::erase_if(thinned, HasOwnRow);
      std::string chunk = EncodeTelemetryChunk(thinned, ChunkContent::kThinned);
      if (static_cast<int64_t>(chunk.size()) >= run.bytes) continue;
      const absl::Status status = Replace(commit, {job_id, run.first_sequence, run.last_sequence, 1, std::move(chunk)});
      if (status.ok()) continue;
      next_whole_[job_id] = run.first_sequence;  // the next round's again
      return status;
    }
  }
  return absl::OkStatus();
}

absl::Status TelemetryCompactor::Replace(GroupCommit& commit, TelemetryCompaction compaction) {
  MANTISSA_FAILPOINT("compact.before_commit");
  const absl::Status status = commit.Commit(
      [&](Scheduler&, Moment, Changes& changes) { changes.compactions.push_back(std::move(compaction)); });
  MANTISSA_FAILPOINT("compact.after_commit");
  if (status.ok()) Rest(options_.pause);
  return status;
}

absl::StatusOr<std::vector<v1::Segment>> TelemetryCompactor::Read(const std::string& job_id, int64_t first,
                                                                  int64_t last) {
  std::vector<v1::Segment> segments;
  for (int64_t next = first; next <= last;) {
    absl::StatusOr<TelemetryPage> page = store_.ReadTelemetry(job_id, next, kReadBytes);
    if (!page.ok()) return page.status();
    // The job is being deleted.
    if (page->segments.empty()) return absl::NotFoundError("telemetry of job " + job_id + " is gone");
    for (v1::Segment& segment : page->segments) {
      if (segment.first_sequence() > last) break;
      next = LastSequence(segment) + 1;
      segments.push_back(std::move(segment));
    }
  }
  return segments;
}

}  // namespace mantissa::server
