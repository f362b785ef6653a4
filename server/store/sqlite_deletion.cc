// Jobs that go: hidden at once, and then taken away a few rows at a time, so that no commit waits for a long history.
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "server/store/sqlite_reader.h"
#include "server/store/sqlite_store.h"

namespace mantissa::server {
namespace {

// Rows of telemetry that one sweep takes; a row is at most a little more than 256 KiB.
constexpr int kSweptAtOnce = 32;

}  // namespace

absl::Status SqliteStore::HideJob(const JobDeletion& deletion) {
  auto update = writer_->Prepare("UPDATE jobs SET state = 0 WHERE id = ? AND etag = ? AND state >= 7 AND state <= 9");
  if (!update.ok()) return update.status();
  absl::Status status = update->Bind(deletion.job_id).Bind(deletion.expected_etag).Run();
  if (status.ok() && writer_->changes() != 1) return StoreConflict("job", deletion.job_id);
  return status;
}

absl::Status SqliteStore::SweepJob(const JobSweep& sweep) {
  auto run = [&](std::string_view sql) -> absl::Status {
    auto statement = writer_->Prepare(sql);
    if (!statement.ok()) return statement.status();
    return statement->Bind(sweep.job_id).Run();
  };
  absl::Status status = run(absl::StrCat(
      "DELETE FROM telemetry WHERE rowid IN (SELECT telemetry.rowid FROM telemetry JOIN jobs ON jobs.id = job_id "
      "WHERE job_id = ? AND state = 0 LIMIT ",
      kSweptAtOnce, ")"));
  if (!status.ok() || writer_->changes() > 0 || !sweep.last) return status;
  // A checkpoint's row goes when its files have gone.
  for (const char* table : {"job_labels", "artifacts", "reports", "attempts", "telemetry_uncompacted"}) {
    status = run(absl::StrCat("DELETE FROM ", table,
                              " WHERE job_id IN (SELECT id FROM jobs WHERE id = ? AND state = 0 AND NOT EXISTS "
                              "(SELECT 1 FROM checkpoints WHERE job_id = jobs.id))"));
    if (!status.ok()) return status;
  }
  return run(
      "DELETE FROM jobs WHERE id = ? AND state = 0 AND NOT EXISTS (SELECT 1 FROM checkpoints WHERE job_id = jobs.id)");
}

absl::Status SqliteStore::WriteDrain(const DrainWrite& write) {
  auto statement = writer_->Prepare(write.drained ? "INSERT OR IGNORE INTO drained_workers (id) VALUES (?)"
                                                  : "DELETE FROM drained_workers WHERE id = ?");
  if (!statement.ok()) return statement.status();
  return statement->Bind(write.worker_id).Run();
}

absl::StatusOr<std::vector<DeletedJob>> SqliteStore::ListDeletedJobs(std::string_view after_id, int32_t limit) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(
      "SELECT id, EXISTS (SELECT 1 FROM telemetry WHERE job_id = jobs.id), "
      "EXISTS (SELECT 1 FROM checkpoints WHERE job_id = jobs.id) "
      "FROM jobs WHERE state = 0 AND id > ? ORDER BY id LIMIT ?");
  if (!statement.ok()) return statement.status();
  statement->Bind(after_id).Bind(limit);
  std::vector<DeletedJob> jobs;
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    jobs.push_back({std::string(row.Bytes(0)), row.Integer(1) != 0, row.Integer(2) != 0});
    return true;
  });
  if (!status.ok()) return status;
  return jobs;
}

absl::StatusOr<std::vector<JobDeletion>> SqliteStore::ListExpiredJobs(const RetentionQuery& query, int32_t limit) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  int64_t before = query.ended_before_micros;
  if (query.keep_newest > 0) {
    auto oldest_kept = reader->connection().Prepare(
        "SELECT end_micros FROM jobs WHERE state >= 7 AND state <= 9 ORDER BY end_micros DESC, id DESC LIMIT 1 OFFSET "
        "?");
    if (!oldest_kept.ok()) return oldest_kept.status();
    auto row = oldest_kept->Bind(query.keep_newest - 1).Step();
    if (!row.ok()) return row.status();
    if (*row) before = std::max(before, oldest_kept->Integer(0));
  }
  auto statement = reader->connection().Prepare(
      "SELECT id, etag, tenant FROM jobs WHERE state >= 7 AND state <= 9 AND end_micros < ? "
      "ORDER BY end_micros, id LIMIT ?");
  if (!statement.ok()) return statement.status();
  statement->Bind(before).Bind(limit);
  std::vector<JobDeletion> jobs;
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    jobs.push_back({std::string(row.Bytes(0)), std::string(row.Bytes(1)), std::string(row.Bytes(2))});
    return true;
  });
  if (!status.ok()) return status;
  return jobs;
}

}  // namespace mantissa::server
