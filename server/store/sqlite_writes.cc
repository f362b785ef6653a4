// One transaction's rows.
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "process/failpoint.h"
#include "server/core/proto_time.h"
#include "server/store/sqlite_store.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {
namespace {

constexpr int kPrunedAtOnce = 64;

}  // namespace

absl::Status StoreConflict(absl::string_view what, absl::string_view key) {
  return absl::AbortedError(absl::StrCat("store: ", what, " ", key, " is not what it was when this was decided"));
}

absl::Status SqliteStore::WriteAll(const Changes& changes) {
  // A page that is written, and the same as before.
  if (changes.probe) return writer_->Execute("UPDATE server SET epoch = epoch");
  for (const JobWrite& write : changes.jobs) {
    absl::Status status = WriteJob(write);
    if (!status.ok()) return status;
    MANTISSA_FAILPOINT("store.after_job");
  }
  for (const AttemptWrite& write : changes.attempts) {
    absl::Status status = WriteAttempt(write);
    if (!status.ok()) return status;
    MANTISSA_FAILPOINT("store.after_attempt");
  }
  for (const v1::Checkpoint& checkpoint : changes.checkpoints) {
    absl::Status status = WriteCheckpoint(checkpoint);
    if (!status.ok()) return status;
  }
  for (const std::string& deleted : changes.deleted_checkpoints) {
    absl::Status status = DeleteCheckpoint(deleted);
    if (!status.ok()) return status;
  }
  for (const ArtifactWrite& write : changes.artifacts) {
    absl::Status status = WriteArtifact(write);
    if (!status.ok()) return status;
  }
  for (const ReportWrite& write : changes.reports) {
    absl::Status status = WriteReport(write);
    if (!status.ok()) return status;
    MANTISSA_FAILPOINT("store.after_report");
  }
  for (const DrainWrite& write : changes.drains) {
    absl::Status status = WriteDrain(write);
    if (!status.ok()) return status;
  }
  absl::Status status = WriteTelemetry(changes.telemetry);
  MANTISSA_FAILPOINT("store.after_telemetry");
  if (status.ok()) status = WriteIdempotency(changes.idempotency);
  MANTISSA_FAILPOINT("store.after_idempotency");
  for (const TelemetryCompaction& compaction : changes.compactions) {
    if (status.ok()) status = CompactTelemetry(compaction);
    MANTISSA_FAILPOINT("compact.written");
  }
  for (const std::string& job_id : changes.compacted_jobs) {
    if (status.ok()) status = ForgetUncompacted(job_id);
  }
  // Last: what was just said of a job goes with it.
  for (const JobDeletion& deletion : changes.deletions) {
    if (status.ok()) status = HideJob(deletion);
  }
  for (const JobSweep& sweep : changes.sweeps) {
    if (status.ok()) status = SweepJob(sweep);
  }
  return status;
}

absl::Status SqliteStore::WriteJob(const JobWrite& write) {
  const v1::Job& job = write.job;
  const std::string head = job.SerializeAsString();
  if (!write.expected_etag.empty()) {
    auto update = writer_->Prepare(
        "UPDATE jobs SET state = ?, etag = ?, queued_ms = ?, total_ms = ?, end_micros = ?, head = ? "
        "WHERE id = ? AND etag = ? AND state >= 1 AND state <= 6");
    if (!update.ok()) return update.status();
    absl::Status status = update->Bind(job.state())
                              .Bind(job.etag())
                              .Bind(write.times.queued.count())
                              .Bind(write.times.total.count())
                              .Bind(ToMicros(job.end_time()))
                              .BindBlob(head)
                              .Bind(job.id())
                              .Bind(write.expected_etag)
                              .Run();
    if (status.ok() && writer_->changes() != 1) return StoreConflict("job", job.id());
    if (status.ok() && !write.specs.empty()) status = WriteNewSpec(write);
    return status;
  }

  auto insert = writer_->Prepare(
      "INSERT INTO jobs (id, tenant, name, state, etag, create_micros, queued_ms, total_ms, end_micros, head, specs) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  if (!insert.ok()) return insert.status();
  absl::Status status = insert->Bind(job.id())
                            .Bind(job.tenant())
                            .Bind(job.name())
                            .Bind(job.state())
                            .Bind(job.etag())
                            .Bind(ToMicros(job.create_time()))
                            .Bind(write.times.queued.count())
                            .Bind(write.times.total.count())
                            .Bind(ToMicros(job.end_time()))
                            .BindBlob(head)
                            .BindBlob(write.specs)
                            .Run();
  if (!status.ok()) return status;
  return WriteLabels(job);
}

absl::Status SqliteStore::WriteNewSpec(const JobWrite& write) {
  const v1::Job& job = write.job;
  auto update = writer_->Prepare("UPDATE jobs SET specs = ? WHERE id = ?");
  if (!update.ok()) return update.status();
  absl::Status status = update->BindBlob(write.specs).Bind(job.id()).Run();
  if (!status.ok()) return status;
  auto labels = writer_->Prepare("DELETE FROM job_labels WHERE job_id = ?");
  if (!labels.ok()) return labels.status();
  status = labels->Bind(job.id()).Run();
  if (!status.ok()) return status;
  return WriteLabels(job);
}

absl::Status SqliteStore::WriteLabels(const v1::Job& job) {
  absl::Status status;
  for (const auto& [name, value] : job.labels()) {
    auto label = writer_->Prepare("INSERT INTO job_labels (job_id, name, value) VALUES (?, ?, ?)");
    if (!label.ok()) return label.status();
    status = label->Bind(job.id()).Bind(name).Bind(value).Run();
    if (!status.ok()) return status;
  }
  return status;
}

absl::Status SqliteStore::WriteAttempt(const AttemptWrite& write) {
  const v1::Attempt& attempt = write.attempt;
  const absl::StatusOr<AttemptRow> row = ToAttemptRow(attempt);
  if (!row.ok()) return row.status();
  const std::string key = absl::StrCat(attempt.job_id(), "/", attempt.number());
  if (write.guard) {
    // One statement, so that nothing comes between the look and the write; see Note [Lease fencing].
    std::string sql =
        "UPDATE attempts SET state = ?, body = ? WHERE job_id = ? AND attempt = ? AND token = ? AND state IN (";
    for (size_t i = 0; i < write.guard->states.size(); ++i) sql += i == 0 ? "?" : ", ?";
    sql += ")";
    auto update = writer_->Prepare(sql);
    if (!update.ok()) return update.status();
    update->Bind(attempt.state())
        .BindBlob(row->body)
        .Bind(attempt.job_id())
        .Bind(attempt.number())
        .BindBlob(write.guard->token);
    for (v1::Attempt::State state : write.guard->states) update->Bind(state);
    absl::Status status = update->Run();
    if (status.ok() && writer_->changes() != 1) return StoreConflict("attempt", key);
    return status;
  }
  auto insert = writer_->Prepare(
      "INSERT INTO attempts (job_id, attempt, state, token, body) SELECT ?1, ?2, ?3, ?4, ?5 "
      "WHERE (SELECT COALESCE(MAX(attempt), 0) FROM attempts WHERE job_id = ?1) = ?2 - 1");
  if (!insert.ok()) return insert.status();
  absl::Status status = insert->Bind(attempt.job_id())
                            .Bind(attempt.number())
                            .Bind(attempt.state())
                            .BindBlob(row->token)
                            .BindBlob(row->body)
                            .Run();
  if (status.ok() && writer_->changes() != 1) return StoreConflict("attempt", key);
  return status;
}

absl::Status SqliteStore::WriteCheckpoint(const v1::Checkpoint& checkpoint) {
  const std::string bytes = checkpoint.SerializeAsString();
  auto upsert = writer_->Prepare(
      "INSERT INTO checkpoints (job_id, name, attempt, step, manifest_sha256, body) VALUES (?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (job_id, name) DO UPDATE SET body = excluded.body "
      "WHERE manifest_sha256 = excluded.manifest_sha256");
  if (!upsert.ok()) return upsert.status();
  absl::Status status = upsert->Bind(checkpoint.job_id())
                            .Bind(checkpoint.name())
                            .Bind(checkpoint.attempt())
                            .Bind(checkpoint.step())
                            .Bind(checkpoint.manifest_sha256())
                            .BindBlob(bytes)
                            .Run();
  if (status.ok() && writer_->changes() != 1) {
    return StoreConflict("checkpoint", absl::StrCat(checkpoint.job_id(), "/", checkpoint.name()));
  }
  return status;
}

absl::Status SqliteStore::DeleteCheckpoint(std::string_view job_and_name) {
  const auto key = SplitCheckpoint(job_and_name);
  if (!key.ok()) return key.status();
  auto statement = writer_->Prepare("DELETE FROM checkpoints WHERE job_id = ? AND name = ?");
  if (!statement.ok()) return statement.status();
  return statement->Bind(key->first).Bind(key->second).Run();
}

absl::Status SqliteStore::WriteArtifact(const ArtifactWrite& write) {
  if (write.kind == ArtifactWrite::Kind::kLost) {
    auto statement =
        writer_->Prepare("DELETE FROM artifacts WHERE job_id = ? AND attempt = ? AND name = ? AND stored = 0");
    if (!statement.ok()) return statement.status();
    return statement->Bind(write.job_id).Bind(write.attempt).Bind(write.artifact.name()).Run();
  }
  const std::string bytes = write.artifact.SerializeAsString();
  auto statement = writer_->Prepare(
      "INSERT INTO artifacts (job_id, attempt, name, stored, body) VALUES (?, ?, ?, ?, ?) "
      "ON CONFLICT (job_id, attempt, name) DO UPDATE SET stored = excluded.stored, body = excluded.body");
  if (!statement.ok()) return statement.status();
  return statement->Bind(write.job_id)
      .Bind(write.attempt)
      .Bind(write.artifact.name())
      .Bind(write.kind == ArtifactWrite::Kind::kStored ? 1 : 0)
      .BindBlob(bytes)
      .Run();
}

absl::Status SqliteStore::WriteReport(const ReportWrite& write) {
  const std::string row = ToReportRow(write.report);
  auto statement = writer_->Prepare(
      "INSERT INTO reports (job_id, attempt, create_micros, body) VALUES (?, ?, ?, ?) ON CONFLICT (job_id) DO UPDATE "
      "SET attempt = excluded.attempt, create_micros = excluded.create_micros, body = excluded.body");
  if (!statement.ok()) return statement.status();
  return statement->Bind(write.job_id).Bind(write.attempt).Bind(write.create_micros).BindBlob(row).Run();
}

absl::Status SqliteStore::WriteIdempotency(const std::vector<IdempotencyWrite>& writes) {
  if (writes.empty()) return absl::OkStatus();
  const int64_t now =
      std::chrono::duration_cast<std::chrono::microseconds>(clock_.WallNow().time_since_epoch()).count();
  for (const IdempotencyWrite& write : writes) {
    auto insert = writer_->Prepare(
        "INSERT INTO idempotency (tenant, request_id, request, job_ids, create_micros) VALUES (?, ?, ?, ?, ?)");
    if (!insert.ok()) return insert.status();
    const std::string job_ids = absl::StrJoin(write.job_ids, ",");
    absl::Status status =
        insert->Bind(write.tenant).Bind(write.request_id).BindBlob(write.request).Bind(job_ids).Bind(now).Run();
    if (!status.ok()) return status;
  }
  // A few at every such commit: the table stops growing, and no commit waits for a sweep.
  auto prune = writer_->Prepare(
      "DELETE FROM idempotency WHERE rowid IN "
      "(SELECT rowid FROM idempotency WHERE create_micros < ? ORDER BY create_micros LIMIT ?)");
  if (!prune.ok()) return prune.status();
  const int64_t oldest = now - std::chrono::microseconds(options_.keep_idempotency).count();
  return prune->Bind(oldest).Bind(kPrunedAtOnce + static_cast<int64_t>(writes.size())).Run();
}

}  // namespace mantissa::server
