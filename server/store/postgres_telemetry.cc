// Reads of telemetry; see Note [Compaction].
#include <algorithm>

#include "absl/strings/str_cat.h"

#include "server/store/postgres_reader.h"
#include "server/store/postgres_store.h"
#include "server/store/stored_rows.h"
#include "server/store/telemetry_chunk.h"

namespace mantissa::server {
namespace {

constexpr int64_t kPageRows = 4096;

// Rows of (first_sequence, last_sequence, segments), those that the page wants.
absl::Status Add(std::string_view job_id, const PostgresRows& rows, TelemetryRows& page) {
  for (int i = 0; i < rows.size() && page.Wants(rows.Integer(i, 0)); ++i) {
    absl::Status added = page.Add({job_id, rows.Integer(i, 0), rows.Bytes(i, 2)});
    if (!added.ok()) return added;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> PostgresStore::LastSequence(Reader& reader, std::string_view job_id) {
  PostgresStatement statement(
      "SELECT last_sequence FROM telemetry WHERE job_id = $1 ORDER BY first_sequence DESC LIMIT 1");
  auto rows = reader.Query(statement.Bind(job_id));
  if (!rows.ok()) return rows.status();
  return rows->size() == 0 ? 0 : rows->Integer(0, 0);
}

absl::StatusOr<TelemetryPage> PostgresStore::ReadTelemetry(std::string_view job_id, int64_t from, int64_t max_bytes) {
  Reader reader = Read();
  const auto last = LastSequence(reader, job_id);
  if (!last.ok()) return last.status();
  TelemetryPage page;
  page.last_sequence = *last;
  // A row that a commit adds between the two statements is left for the next read. `from` lies in the newest row of
  // records that begins before it, which is near; or in a row of many small records that one commit brought, and then
  // no event stands between.
  static const std::string kSql = CutByBytes(
      "first_sequence, last_sequence, segments",
      absl::StrCat(
          "SELECT first_sequence, last_sequence, segments, octet_length(segments) AS size FROM telemetry WHERE "
          "job_id = $1 AND last_sequence BETWEEN $2 AND $3 AND first_sequence >= COALESCE((SELECT "
          "first_sequence FROM telemetry WHERE job_id = $1 AND first_sequence BETWEEN $2 - ",
          kChunkSpan,
          " AND $2 AND severity = 0 ORDER BY first_sequence DESC LIMIT 1), (SELECT MAX(first_sequence) FROM "
          "telemetry WHERE job_id = $1 AND first_sequence <= $2), $2) ORDER BY first_sequence LIMIT ",
          kPageRows),
      "ORDER BY first_sequence", "< $4");
  PostgresStatement statement(kSql);
  auto rows =
      reader.Query(statement.Bind(job_id).Bind(from).Bind(page.last_sequence).Bind(std::max<int64_t>(max_bytes, 1)));
  if (!rows.ok()) return rows.status();
  TelemetryRows read(from, max_bytes, chunks_);
  absl::Status status = Add(job_id, *rows, read);
  if (!status.ok()) return status;
  // Events that lie in a chunk are read with it.
  const int64_t newest = rows->size() == 0 ? 0 : rows->Integer(rows->size() - 1, 0);
  if (read.chunks_through() > newest) {
    PostgresStatement events(
        "SELECT first_sequence, last_sequence, segments FROM telemetry WHERE job_id = $1 AND first_sequence > $2 AND "
        "first_sequence <= $3 AND severity > 0 ORDER BY first_sequence");
    auto in_chunk = reader.Query(events.Bind(job_id).Bind(newest).Bind(read.chunks_through()));
    if (!in_chunk.ok()) return in_chunk.status();
    status = Add(job_id, *in_chunk, read);
    if (!status.ok()) return status;
  }
  page.segments = read.Take();
  return page;
}

absl::StatusOr<TelemetryPage> PostgresStore::ListEvents(std::string_view job_id, int64_t from,
                                                        v1::JobEvent::Severity min_severity, int32_t limit) {
  Reader reader = Read();
  PostgresStatement statement(
      "SELECT first_sequence, last_sequence, segments FROM telemetry WHERE job_id = $1 AND first_sequence >= $2 AND "
      "severity > 0 AND severity >= $3 ORDER BY first_sequence LIMIT $4");
  auto rows = reader.Query(statement.Bind(job_id).Bind(from).Bind(min_severity).Bind(limit));
  if (!rows.ok()) return rows.status();
  TelemetryRows events(from, TelemetryRows::kAll, chunks_);
  absl::Status status = Add(job_id, *rows, events);
  if (!status.ok()) return status;
  TelemetryPage page;
  page.segments = events.Take();
  const auto last = LastSequence(reader, job_id);
  if (!last.ok()) return last.status();
  page.last_sequence = *last;
  return page;
}

absl::StatusOr<int64_t> PostgresStore::CountEvents(std::string_view job_id, int64_t from, int64_t through) {
  Reader reader = Read();
  PostgresStatement statement(
      "SELECT count(*) FROM telemetry WHERE job_id = $1 AND first_sequence BETWEEN $2 AND $3 AND severity > 0");
  auto rows = reader.Query(statement.Bind(job_id).Bind(from).Bind(through));
  if (!rows.ok()) return rows.status();
  return rows->size() == 0 ? 0 : rows->Integer(0, 0);
}

absl::StatusOr<std::vector<TelemetryRun>> PostgresStore::ListTelemetryRuns(std::string_view job_id, int64_t from,
                                                                           int32_t limit) {
  Reader reader = Read();
  PostgresStatement statement(
      "SELECT first_sequence, last_sequence, octet_length(segments)::BIGINT, substr(segments, 1, 2) FROM telemetry "
      "WHERE job_id = $1 AND first_sequence >= $2 AND severity = 0 ORDER BY first_sequence LIMIT $3");
  auto rows = reader.Query(statement.Bind(job_id).Bind(from).Bind(int64_t{limit}));
  if (!rows.ok()) return rows.status();
  std::vector<TelemetryRun> runs;
  for (int i = 0; i < rows->size(); ++i) {
    runs.push_back({rows->Integer(i, 0), rows->Integer(i, 1), rows->Integer(i, 2), IsTelemetryChunk(rows->Bytes(i, 3)),
                    IsThinnedChunk(rows->Bytes(i, 3))});
  }
  return runs;
}

absl::StatusOr<std::vector<std::string>> PostgresStore::ListUncompactedJobs(std::string_view after_id, int32_t limit) {
  Reader reader = Read();
  PostgresStatement statement(
      "SELECT job_id FROM telemetry_uncompacted JOIN jobs ON jobs.id = job_id WHERE job_id > $1 AND state IN (7, 8, 9) "
      "ORDER BY job_id LIMIT $2");
  auto rows = reader.Query(statement.Bind(after_id).Bind(int64_t{limit}));
  if (!rows.ok()) return rows.status();
  std::vector<std::string> ids;
  for (int i = 0; i < rows->size(); ++i) ids.emplace_back(rows->Bytes(i, 0));
  return ids;
}

}  // namespace mantissa::server
