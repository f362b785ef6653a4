// One transaction's statements.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "server/core/proto_time.h"
#include "server/store/postgres_store.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {
namespace {

constexpr int kPrunedAtOnce = 64;
// Rows of telemetry that one sweep takes; a row is at most a little more than 256 KiB.
constexpr int kSweptAtOnce = 32;

// See Note [One round trip].
constexpr char kEpoch[] = "SELECT require_epoch((SELECT epoch FROM server WHERE only_row = 1 FOR SHARE), $1)";

// `write` as a statement that fails unless it changes exactly one row; it returns 1 for each row it changes.
std::string ExactlyOne(std::string_view write) {
  return absl::StrCat("WITH changed AS (", absl::string_view(write.data(), write.size()),
                      " RETURNING 1) SELECT require_one_row((SELECT count(*) FROM changed))");
}

using Statements = std::vector<PostgresStatement>;

void AddLabels(const v1::Job& job, Statements& statements) {
  for (const auto& [name, value] : job.labels()) {
    statements.emplace_back("INSERT INTO job_labels (job_id, name, value) VALUES ($1, $2, $3)")
        .Bind(job.id())
        .Bind(name)
        .Bind(value);
  }
}

void AddJob(const JobWrite& write, Statements& statements) {
  static const std::string kUpdate = ExactlyOne(
      "UPDATE jobs SET state = $1, etag = $2, queued_ms = $3, total_ms = $4, end_micros = $5, head = $6 "
      "WHERE id = $7 AND etag = $8 AND state NOT IN (0, 7, 8, 9)");
  const v1::Job& job = write.job;
  if (!write.expected_etag.empty()) {
    statements.emplace_back(kUpdate)
        .Bind(job.state())
        .Bind(job.etag())
        .Bind(write.times.queued.count())
        .Bind(write.times.total.count())
        .Bind(ToMicros(job.end_time()))
        .BindBlob(job.SerializeAsString())
        .Bind(job.id())
        .Bind(write.expected_etag)
        .About(absl::StrCat("job ", job.id()));
    if (write.specs.empty()) return;
    statements.emplace_back("UPDATE jobs SET specs = $1 WHERE id = $2").BindBlob(write.specs).Bind(job.id());
    statements.emplace_back("DELETE FROM job_labels WHERE job_id = $1").Bind(job.id());
    return AddLabels(job, statements);
  }
  statements
      .emplace_back(
          "INSERT INTO jobs (id, tenant, name, state, etag, create_micros, queued_ms, total_ms, end_micros, head, "
          "specs) "
          "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)")
      .Bind(job.id())
      .Bind(job.tenant())
      .Bind(job.name())
      .Bind(job.state())
      .Bind(job.etag())
      .Bind(ToMicros(job.create_time()))
      .Bind(write.times.queued.count())
      .Bind(write.times.total.count())
      .Bind(ToMicros(job.end_time()))
      .BindBlob(job.SerializeAsString())
      .BindBlob(write.specs)
      .About(absl::StrCat("job ", job.id()));
  AddLabels(job, statements);
}

absl::Status AddAttempt(const AttemptWrite& write, Statements& statements) {
  // One statement, so that nothing comes between the look and the write; see Note [Lease fencing].
  static const std::string kUpdate = ExactlyOne(
      "UPDATE attempts SET state = $1, body = $2 WHERE job_id = $3 AND attempt = $4 AND token = $5 AND "
      "state = ANY ($6)");
  static const std::string kInsert = ExactlyOne(
      "INSERT INTO attempts (job_id, attempt, state, token, body) SELECT $1, $2, $3, $4, $5 "
      "WHERE (SELECT COALESCE(MAX(attempt), 0) FROM attempts WHERE job_id = $1) = $2 - 1");
  const v1::Attempt& attempt = write.attempt;
  absl::StatusOr<AttemptRow> row = ToAttemptRow(attempt);
  if (!row.ok()) return row.status();
  if (write.guard) {
    statements.emplace_back(kUpdate)
        .Bind(attempt.state())
        .BindBlob(std::move(row->body))
        .Bind(attempt.job_id())
        .Bind(attempt.number())
        .BindBlob(write.guard->token)
        .Bind(std::vector<int64_t>(write.guard->states.begin(), write.guard->states.end()));
  } else {
    statements.emplace_back(kInsert)
        .Bind(attempt.job_id())
        .Bind(attempt.number())
        .Bind(attempt.state())
        .BindBlob(std::move(row->token))
        .BindBlob(std::move(row->body));
  }
  statements.back().About(absl::StrCat("attempt ", attempt.job_id(), "/", attempt.number()));
  return absl::OkStatus();
}

void AddCheckpoint(const v1::Checkpoint& checkpoint, Statements& statements) {
  static const std::string kUpsert = ExactlyOne(
      "INSERT INTO checkpoints (job_id, name, attempt, step, manifest_sha256, body) VALUES ($1, $2, $3, $4, $5, $6) "
      "ON CONFLICT (job_id, name) DO UPDATE SET body = excluded.body "
      "WHERE checkpoints.manifest_sha256 = excluded.manifest_sha256");
  statements.emplace_back(kUpsert)
      .Bind(checkpoint.job_id())
      .Bind(checkpoint.name())
      .Bind(checkpoint.attempt())
      .Bind(checkpoint.step())
      .Bind(checkpoint.manifest_sha256())
      .BindBlob(checkpoint.SerializeAsString())
      .About(absl::StrCat("checkpoint ", checkpoint.job_id(), "/", checkpoint.name()));
}

void AddArtifact(const ArtifactWrite& write, Statements& statements) {
  if (write.kind == ArtifactWrite::Kind::kLost) {
    statements.emplace_back("DELETE FROM artifacts WHERE job_id = $1 AND attempt = $2 AND name = $3 AND stored = 0")
        .Bind(write.job_id)
        .Bind(write.attempt)
        .Bind(write.artifact.name());
    return;
  }
  statements
      .emplace_back(
          "INSERT INTO artifacts (job_id, attempt, name, stored, body) VALUES ($1, $2, $3, $4, $5) "
          "ON CONFLICT (job_id, attempt, name) DO UPDATE SET stored = excluded.stored, body = excluded.body")
      .Bind(write.job_id)
      .Bind(write.attempt)
      .Bind(write.artifact.name())
      .Bind(write.kind == ArtifactWrite::Kind::kStored ? 1 : 0)
      .BindBlob(write.artifact.SerializeAsString());
}

void AddReport(const ReportWrite& write, Statements& statements) {
  statements
      .emplace_back(
          "INSERT INTO reports (job_id, attempt, create_micros, body) VALUES ($1, $2, $3, $4) ON CONFLICT (job_id) DO "
          "UPDATE SET attempt = excluded.attempt, create_micros = excluded.create_micros, body = excluded.body")
      .Bind(write.job_id)
      .Bind(write.attempt)
      .Bind(write.create_micros)
      .BindBlob(ToReportRow(write.report))
      .About(absl::StrCat("report of job ", write.job_id));
}

void AddTelemetry(const std::vector<TelemetryWrite>& writes, Statements& statements) {
  for (TelemetryRow& row : ToTelemetryRows(writes)) {
    statements
        .emplace_back(
            "INSERT INTO telemetry (job_id, first_sequence, last_sequence, severity, segments) "
            "VALUES ($1, $2, $3, $4, $5)")
        .Bind(row.job_id)
        .Bind(row.first_sequence)
        .Bind(row.last_sequence)
        .Bind(row.severity)
        .BindBlob(std::move(row.segments))
        .About(absl::StrCat("telemetry of job ", std::string(row.job_id)));
    if (row.severity > 0) continue;
    statements.emplace_back("INSERT INTO telemetry_uncompacted (job_id) VALUES ($1) ON CONFLICT DO NOTHING")
        .Bind(row.job_id);
  }
}

// See Note [Compaction].
void AddCompaction(const TelemetryCompaction& compaction, Statements& statements) {
  statements
      .emplace_back(
          "UPDATE telemetry SET last_sequence = $3, segments = $4 WHERE job_id = $1 AND first_sequence = $2 AND $5 = "
          "(SELECT count(*) FROM telemetry WHERE job_id = $1 AND first_sequence BETWEEN $2 AND $3 AND "
          "last_sequence <= $3 AND severity = 0)")
      .Bind(compaction.job_id)
      .Bind(compaction.first_sequence)
      .Bind(compaction.last_sequence)
      .BindBlob(compaction.chunk)
      .Bind(compaction.rows)
      .About(absl::StrCat("telemetry of job ", compaction.job_id));
  // Where the first did nothing, its row does not reach as far.
  statements
      .emplace_back(
          "DELETE FROM telemetry WHERE job_id = $1 AND first_sequence > $2 AND first_sequence <= $3 AND severity = 0 "
          "AND "
          "EXISTS (SELECT 1 FROM telemetry WHERE job_id = $1 AND first_sequence = $2 AND last_sequence = $3)")
      .Bind(compaction.job_id)
      .Bind(compaction.first_sequence)
      .Bind(compaction.last_sequence);
}

void AddDrain(const DrainWrite& write, Statements& statements) {
  statements
      .emplace_back(write.drained ? "INSERT INTO drained_workers (id) VALUES ($1) ON CONFLICT DO NOTHING"
                                  : "DELETE FROM drained_workers WHERE id = $1")
      .Bind(write.worker_id);
}

void AddDeletion(const JobDeletion& deletion, Statements& statements) {
  static const std::string kHide =
      ExactlyOne("UPDATE jobs SET state = 0 WHERE id = $1 AND etag = $2 AND state IN (7, 8, 9)");
  statements.emplace_back(kHide)
      .Bind(deletion.job_id)
      .Bind(deletion.expected_etag)
      .About(absl::StrCat("job ", deletion.job_id));
}

void AddSweep(const JobSweep& sweep, Statements& statements) {
  static const std::string kTelemetry = absl::StrCat(
      "DELETE FROM telemetry WHERE (job_id, first_sequence) IN (SELECT job_id, first_sequence FROM telemetry "
      "WHERE job_id = $1 AND EXISTS (SELECT 1 FROM jobs WHERE id = $1 AND state = 0) ORDER BY first_sequence LIMIT ",
      kSweptAtOnce, ")");
  statements.emplace_back(kTelemetry).Bind(sweep.job_id);
  if (!sweep.last) return;
  // A checkpoint's row goes when its files have gone.
  static const std::string kGone =
      "id = $1 AND state = 0 AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE job_id = $1) AND NOT EXISTS "
      "(SELECT 1 FROM telemetry WHERE job_id = $1)";
  for (const char* table : {"job_labels", "artifacts", "reports", "attempts", "telemetry_uncompacted"}) {
    statements
        .emplace_back(
            absl::StrCat("DELETE FROM ", table, " WHERE job_id = $1 AND EXISTS (SELECT 1 FROM jobs WHERE ", kGone, ")"))
        .Bind(sweep.job_id);
  }
  statements.emplace_back(absl::StrCat("DELETE FROM jobs WHERE ", kGone)).Bind(sweep.job_id);
}

void AddIdempotency(const std::vector<IdempotencyWrite>& writes, process::WallTime wall_now, std::chrono::hours keep,
                    Statements& statements) {
  if (writes.empty()) return;
  const int64_t now = std::chrono::duration_cast<std::chrono::microseconds>(wall_now.time_since_epoch()).count();
  for (const IdempotencyWrite& write : writes) {
    statements
        .emplace_back(
            "INSERT INTO idempotency (tenant, request_id, request, job_ids, create_micros) "
            "VALUES ($1, $2, $3, $4, $5)")
        .Bind(write.tenant)
        .Bind(write.request_id)
        .BindBlob(write.request)
        .Bind(absl::StrJoin(write.job_ids, ","))
        .Bind(now);
  }
  // A few at every such commit: the table stops growing, and no commit waits for a sweep.
  statements
      .emplace_back(
          "DELETE FROM idempotency WHERE (tenant, request_id) IN "
          "(SELECT tenant, request_id FROM idempotency WHERE create_micros < $1 ORDER BY create_micros LIMIT $2)")
      .Bind(now - std::chrono::microseconds(keep).count())
      .Bind(kPrunedAtOnce + static_cast<int64_t>(writes.size()));
}

}  // namespace

absl::StatusOr<std::vector<PostgresStatement>> PostgresStore::Statements(const Changes& changes) const {
  std::vector<PostgresStatement> statements;
  statements.emplace_back(kEpoch).Bind(epoch_);
  // Something that takes a page of the log, and leaves nothing.
  if (changes.probe) {
    statements.emplace_back("INSERT INTO drained_workers (id) VALUES ('')");
    statements.emplace_back("DELETE FROM drained_workers WHERE id = ''");
    return statements;
  }
  for (const JobWrite& write : changes.jobs) AddJob(write, statements);
  for (const AttemptWrite& write : changes.attempts) {
    absl::Status status = AddAttempt(write, statements);
    if (!status.ok()) return status;
  }
  for (const v1::Checkpoint& checkpoint : changes.checkpoints) AddCheckpoint(checkpoint, statements);
  for (const std::string& deleted : changes.deleted_checkpoints) {
    const auto key = SplitCheckpoint(deleted);
    if (!key.ok()) return key.status();
    statements.emplace_back("DELETE FROM checkpoints WHERE job_id = $1 AND name = $2")
        .Bind(key->first)
        .Bind(key->second);
  }
  for (const ArtifactWrite& write : changes.artifacts) AddArtifact(write, statements);
  for (const ReportWrite& write : changes.reports) AddReport(write, statements);
  for (const DrainWrite& write : changes.drains) AddDrain(write, statements);
  AddTelemetry(changes.telemetry, statements);
  AddIdempotency(changes.idempotency, clock_.WallNow(), options_.keep_idempotency, statements);
  for (const TelemetryCompaction& compaction : changes.compactions) AddCompaction(compaction, statements);
  for (const std::string& job_id : changes.compacted_jobs) {
    statements.emplace_back("DELETE FROM telemetry_uncompacted WHERE job_id = $1").Bind(job_id);
  }
  // Last: what was just said of a job goes with it.
  for (const JobDeletion& deletion : changes.deletions) AddDeletion(deletion, statements);
  for (const JobSweep& sweep : changes.sweeps) AddSweep(sweep, statements);
  return statements;
}

}  // namespace mantissa::server
