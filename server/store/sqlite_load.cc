// What a start needs: the jobs that are not over.
#include "server/store/sqlite_reader.h"
#include "server/store/sqlite_store.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {

absl::StatusOr<StoredState> SqliteStore::Load() {
  if (suspect_) {
    auto checkpoint = writer_->Prepare("PRAGMA wal_checkpoint(TRUNCATE)");
    if (!checkpoint.ok()) return checkpoint.status();
    auto row = checkpoint->Step();
    if (!row.ok()) return row.status();
    if (!*row || checkpoint->Integer(0) != 0) {
      return absl::UnavailableError("store: the write-ahead log cannot be folded into the database yet");
    }
    suspect_ = false;
  }
  std::vector<std::string> ids;
  {
    auto statement = writer_->Prepare(
        "SELECT id FROM jobs WHERE state >= 1 AND state <= 6 UNION "
        "SELECT job_id FROM artifacts JOIN jobs ON jobs.id = job_id WHERE stored = 0 AND state <> 0 ORDER BY 1");
    if (!statement.ok()) return statement.status();
    absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
      ids.emplace_back(row.Bytes(0));
      return true;
    });
    if (!status.ok()) return status;
  }
  StoredState stored;
  stored.jobs.reserve(ids.size());
  for (const std::string& id : ids) {
    auto job = LoadJob(id);
    if (!job.ok()) return job.status();
    stored.jobs.push_back(std::move(*job));
  }
  absl::Status status = LoadDrained(stored);
  if (status.ok()) status = LoadOrphans(stored);
  if (!status.ok()) return status;
  return stored;
}

absl::Status SqliteStore::LoadDrained(StoredState& stored) {
  auto statement = writer_->Prepare("SELECT id FROM drained_workers ORDER BY id");
  if (!statement.ok()) return statement.status();
  return ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    stored.drained_workers.emplace_back(row.Bytes(0));
    return true;
  });
}

absl::Status SqliteStore::LoadOrphans(StoredState& stored) {
  // Deleted jobs are few, and the planner cannot know: left to itself it looks at every checkpoint that there is.
  auto statement = writer_->Prepare(
      "SELECT body FROM jobs INDEXED BY jobs_deleted CROSS JOIN checkpoints ON job_id = jobs.id WHERE jobs.state = 0 "
      "ORDER BY job_id, checkpoints.name");
  if (!statement.ok()) return statement.status();
  return ForEachRow(*statement, [&](SqliteStatement& row) { return TakeRow(row.Bytes(0), stored.orphans); });
}

absl::StatusOr<LiveJob> SqliteStore::LoadJob(const std::string& job_id) {
  LiveJob live;
  // Calls `take` with every row of `sql`, whose only parameter is the job; stops at the first error or at `false`.
  auto for_each = [&](std::string_view sql, auto take) -> absl::Status {
    auto statement = writer_->Prepare(sql);
    if (!statement.ok()) return statement.status();
    return ForEachRow(statement->Bind(job_id), take);
  };
  auto taken = [](absl::Status status) -> absl::StatusOr<bool> {
    if (!status.ok()) return status;
    return true;
  };

  absl::Status status =
      for_each("SELECT head, specs, queued_ms, total_ms FROM jobs WHERE id = ?", [&](SqliteStatement& row) {
        live.times.queued = std::chrono::milliseconds(row.Integer(2));
        live.times.total = std::chrono::milliseconds(row.Integer(3));
        return taken(ParseJob(row.Bytes(0), row.Bytes(1), live.job));
      });
  if (!status.ok()) return status;
  if (live.job.id() != job_id) return absl::DataLossError("store: a job that other rows name has no row");

  status = for_each("SELECT body, token FROM attempts WHERE job_id = ? ORDER BY attempt", [&](SqliteStatement& row) {
    return taken(ParseAttempt(row.Bytes(0), row.Bytes(1), live.attempts.emplace_back()));
  });
  if (!status.ok()) return status;

  status =
      for_each("SELECT body FROM checkpoints WHERE job_id = ? ORDER BY attempt, step, name",
               [&](SqliteStatement& row) { return taken(ParseRow(row.Bytes(0), live.checkpoints.emplace_back())); });
  if (!status.ok()) return status;

  status = for_each("SELECT attempt, body FROM artifacts WHERE job_id = ? AND stored = 0", [&](SqliteStatement& row) {
    ArtifactWrite& wanted = live.wanted_artifacts.emplace_back();
    wanted.job_id = job_id;
    wanted.attempt = static_cast<int32_t>(row.Integer(0));
    wanted.kind = ArtifactWrite::Kind::kWanted;
    return taken(ParseRow(row.Bytes(1), wanted.artifact));
  });
  if (!status.ok()) return status;

  status = for_each(
      "SELECT last_sequence, segments, first_sequence FROM telemetry WHERE job_id = ? ORDER BY first_sequence DESC",
      [&](SqliteStatement& row) -> absl::StatusOr<bool> {
        if (live.last_sequence == 0) live.last_sequence = row.Integer(0);
        const absl::StatusOr<bool> found = TakeAttemptSequence({job_id, row.Integer(2), row.Bytes(1)}, live);
        if (!found.ok()) return found.status();
        return !*found;
      });
  if (!status.ok()) return status;
  return live;
}

}  // namespace mantissa::server
