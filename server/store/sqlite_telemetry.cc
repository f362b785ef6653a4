// Telemetry: what commits add to it, what reads see of it, and how old rows become few.
#include "absl/strings/str_cat.h"

#include "server/store/sqlite_reader.h"
#include "server/store/sqlite_store.h"
#include "server/store/stored_rows.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server {

absl::Status SqliteStore::WriteTelemetry(const std::vector<TelemetryWrite>& writes) {
  for (const TelemetryRow& row : ToTelemetryRows(writes)) {
    auto insert = writer_->Prepare(
        "INSERT INTO telemetry (job_id, first_sequence, last_sequence, severity, segments) VALUES (?, ?, ?, ?, ?)");
    if (!insert.ok()) return insert.status();
    absl::Status status = insert->Bind(row.job_id)
                              .Bind(row.first_sequence)
                              .Bind(row.last_sequence)
                              .Bind(row.severity)
                              .BindBlob(row.segments)
                              .Run();
    if (!status.ok()) return status;
    if (row.severity > 0) continue;
    auto mark = writer_->Prepare("INSERT OR IGNORE INTO telemetry_uncompacted (job_id) VALUES (?)");
    if (!mark.ok()) return mark.status();
    status = mark->Bind(row.job_id).Run();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Note [Compaction]
//
// What commits leave of a job's records is a row for each, which costs several times what the records are worth. A
// TelemetryCompactor puts chunks in their place, each of which stands for the rows from its first sequence to its last
// but for events: these keep rows of their own, by which they are found, even where a chunk reaches from before them to
// behind them. So rows do not follow one another as their first sequences do, and two rules make up for it. A chunk
// begins no more than kChunkSpan before its last sequence, so that the row that holds a sequence is found. And the
// newest row of a job, and of one that still runs the newest row of records, are never part of a chunk, so that the
// newest row says how far the job has come, and the attempt.
//
// A chunk that lies far behind the newest entry is put in its own place once more, thinned (Note [Thinned rows]): that
// is what bounds a run of months. Its rows end at every event and gap, so that each stands for sequences that follow
// one another, and a reader may begin in the midst of one.
absl::Status SqliteStore::CompactTelemetry(const TelemetryCompaction& compaction) {
  auto update = writer_->Prepare(
      "UPDATE telemetry SET last_sequence = ?3, segments = ?4 WHERE job_id = ?1 AND first_sequence = ?2 AND ?5 = "
      "(SELECT COUNT(*) FROM telemetry WHERE job_id = ?1 AND first_sequence BETWEEN ?2 AND ?3 AND "
      "last_sequence <= ?3 AND severity = 0)");
  if (!update.ok()) return update.status();
  absl::Status status = update->Bind(compaction.job_id)
                            .Bind(compaction.first_sequence)
                            .Bind(compaction.last_sequence)
                            .BindBlob(compaction.chunk)
                            .Bind(compaction.rows)
                            .Run();
  if (!status.ok() || writer_->changes() == 0) return status;
  auto remove = writer_->Prepare(
      "DELETE FROM telemetry WHERE job_id = ? AND first_sequence > ? AND first_sequence <= ? AND severity = 0");
  if (!remove.ok()) return remove.status();
  status = remove->Bind(compaction.job_id).Bind(compaction.first_sequence).Bind(compaction.last_sequence).Run();
  if (!status.ok()) return status;
  // What is gone stood among the events, each of which would keep a page nearly to itself: they move to the end of the
  // table, together.
  auto gather = writer_->Prepare(
      "UPDATE telemetry SET rowid = rowid + 1 + (SELECT MAX(rowid) FROM telemetry) - (SELECT MIN(rowid) FROM telemetry "
      "WHERE job_id = ?1 AND first_sequence BETWEEN ?2 AND ?3 AND severity > 0) "
      "WHERE job_id = ?1 AND first_sequence BETWEEN ?2 AND ?3 AND severity > 0");
  if (!gather.ok()) return gather.status();
  return gather->Bind(compaction.job_id).Bind(compaction.first_sequence).Bind(compaction.last_sequence).Run();
}

absl::Status SqliteStore::ForgetUncompacted(const std::string& job_id) {
  auto statement = writer_->Prepare("DELETE FROM telemetry_uncompacted WHERE job_id = ?");
  if (!statement.ok()) return statement.status();
  return statement->Bind(job_id).Run();
}

absl::StatusOr<int64_t> SqliteStore::LastSequence(Reader& reader, std::string_view job_id) {
  auto newest = reader.connection().Prepare(
      "SELECT last_sequence FROM telemetry WHERE job_id = ? ORDER BY first_sequence DESC LIMIT 1");
  if (!newest.ok()) return newest.status();
  auto row = newest->Bind(job_id).Step();
  if (!row.ok()) return row.status();
  return *row ? newest->Integer(0) : 0;
}

absl::StatusOr<TelemetryPage> SqliteStore::ReadTelemetry(std::string_view job_id, int64_t from, int64_t max_bytes) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  const auto last = LastSequence(*reader, job_id);
  if (!last.ok()) return last.status();
  TelemetryPage page;
  page.last_sequence = *last;
  // A row that a commit adds between the two statements is left for the next read. `from` lies in the newest row of
  // records that begins before it, which is near; or in a row of many small records that one commit brought, and then
  // no event stands between.
  static const std::string kSql = absl::StrCat(
      "SELECT first_sequence, last_sequence, segments FROM telemetry WHERE job_id = ?1 AND last_sequence BETWEEN ?2 "
      "AND "
      "?3 AND first_sequence >= COALESCE((SELECT first_sequence FROM telemetry WHERE job_id = ?1 AND first_sequence "
      "BETWEEN ?2 - ",
      kChunkSpan,
      " AND ?2 AND severity = 0 ORDER BY first_sequence DESC LIMIT 1), (SELECT MAX(first_sequence) FROM telemetry "
      "WHERE "
      "job_id = ?1 AND first_sequence <= ?2), ?2) ORDER BY first_sequence");
  auto statement = reader->connection().Prepare(kSql);
  if (!statement.ok()) return statement.status();
  statement->Bind(job_id).Bind(from).Bind(page.last_sequence);
  TelemetryRows rows(from, max_bytes, chunks_);
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    if (!rows.Wants(row.Integer(0))) return false;
    absl::Status added = rows.Add({job_id, row.Integer(0), row.Bytes(2)});
    if (!added.ok()) return added;
    return true;
  });
  if (!status.ok()) return status;
  page.segments = rows.Take();
  return page;
}

absl::StatusOr<TelemetryPage> SqliteStore::ListEvents(std::string_view job_id, int64_t from,
                                                      v1::JobEvent::Severity min_severity, int32_t limit) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(
      "SELECT first_sequence, segments FROM telemetry WHERE job_id = ? AND first_sequence >= ? AND severity > 0 AND "
      "severity >= ? ORDER BY first_sequence LIMIT ?");
  if (!statement.ok()) return statement.status();
  statement->Bind(job_id).Bind(from).Bind(min_severity).Bind(limit);
  TelemetryRows rows(from, TelemetryRows::kAll, chunks_);
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    absl::Status added = rows.Add({job_id, row.Integer(0), row.Bytes(1)});
    if (!added.ok()) return added;
    return true;
  });
  if (!status.ok()) return status;
  TelemetryPage page;
  page.segments = rows.Take();
  const auto last = LastSequence(*reader, job_id);
  if (!last.ok()) return last.status();
  page.last_sequence = *last;
  return page;
}

absl::StatusOr<int64_t> SqliteStore::CountEvents(std::string_view job_id, int64_t from, int64_t through) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(
      "SELECT COUNT(*) FROM telemetry INDEXED BY telemetry_events WHERE job_id = ? AND first_sequence BETWEEN ? AND ? "
      "AND severity > 0");
  if (!statement.ok()) return statement.status();
  auto row = statement->Bind(job_id).Bind(from).Bind(through).Step();
  if (!row.ok()) return row.status();
  return statement->Integer(0);
}

absl::StatusOr<std::vector<TelemetryRun>> SqliteStore::ListTelemetryRuns(std::string_view job_id, int64_t from,
                                                                         int32_t limit) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(
      "SELECT first_sequence, last_sequence, length(segments), substr(segments, 1, 2) FROM telemetry "
      "WHERE job_id = ? AND first_sequence >= ? AND severity = 0 ORDER BY first_sequence LIMIT ?");
  if (!statement.ok()) return statement.status();
  statement->Bind(job_id).Bind(from).Bind(limit);
  std::vector<TelemetryRun> runs;
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    runs.push_back(
        {row.Integer(0), row.Integer(1), row.Integer(2), IsTelemetryChunk(row.Bytes(3)), IsThinnedChunk(row.Bytes(3))});
    return true;
  });
  if (!status.ok()) return status;
  return runs;
}

absl::StatusOr<std::vector<std::string>> SqliteStore::ListUncompactedJobs(std::string_view after_id, int32_t limit) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(
      "SELECT job_id FROM telemetry_uncompacted CROSS JOIN jobs ON jobs.id = job_id WHERE job_id > ? AND state >= 7 "
      "AND "
      "state <= 9 ORDER BY job_id LIMIT ?");
  if (!statement.ok()) return statement.status();
  statement->Bind(after_id).Bind(limit);
  std::vector<std::string> ids;
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    ids.emplace_back(row.Bytes(0));
    return true;
  });
  if (!status.ok()) return status;
  return ids;
}

}  // namespace mantissa::server
