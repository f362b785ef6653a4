// Reads, from any thread, of what is durable.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "server/core/job_state.h"
#include "server/core/proto_time.h"
#include "server/store/postgres_reader.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {
namespace {

constexpr int64_t kPageBytes = int64_t{2} << 20;

// The first column of every row, a message each.
template <typename Message>
absl::StatusOr<std::vector<Message>> Parse(const absl::StatusOr<PostgresRows>& rows) {
  if (!rows.ok()) return rows.status();
  std::vector<Message> messages;
  for (int i = 0; i < rows->size(); ++i) {
    absl::Status status = ParseRow(rows->Bytes(i, 0), messages.emplace_back());
    if (!status.ok()) return status;
  }
  return messages;
}

PostgresStatement ListStatement(std::string_view tenant, const v1::JobFilter& filter, std::string_view before_id,
                                int64_t limit) {
  PostgresStatement statement("");
  int next = 0;
  std::string where = "state <> 0";
  auto add = [&](absl::string_view condition, const auto& value) {
    absl::StrAppend(&where, " AND ", condition, " $", ++next);
    statement.Bind(value);
  };
  if (!tenant.empty()) add("tenant =", tenant);
  if (!before_id.empty()) add("id <", before_id);
  if (!filter.name().empty()) add("name =", std::string_view(filter.name()));
  if (filter.has_created_after()) add("create_micros >", ToMicros(filter.created_after()));
  if (filter.has_created_before()) add("create_micros <", ToMicros(filter.created_before()));
  for (const auto& [name, value] : filter.labels()) {
    add("EXISTS (SELECT 1 FROM job_labels WHERE job_id = jobs.id AND name =", std::string_view(name));
    add("value =", std::string_view(value));
    where += ")";
  }
  if (filter.states_size() > 0) {
    absl::StrAppend(&where, " AND state = ANY ($", ++next, ")");
    statement.Bind(std::vector<int64_t>(filter.states().begin(), filter.states().end()));
    // Live jobs are few among all that have ended, and have an index of their own; its condition must stand here in its
    // own words, or it does not serve.
    if (std::none_of(filter.states().begin(), filter.states().end(),
                     [](int state) { return IsTerminal(static_cast<v1::Job::State>(state)); })) {
      where += " AND state NOT IN (0, 7, 8, 9)";
    }
  }
  const std::string page =
      absl::StrCat("SELECT id, head, specs, octet_length(head) + octet_length(specs) AS size FROM jobs WHERE ", where,
                   " ORDER BY id DESC LIMIT $", ++next);
  statement.Bind(limit);
  return statement.SetText(CutByBytes("head, specs", page, "ORDER BY id DESC", absl::StrCat("<= ", kPageBytes)));
}

}  // namespace

std::string CutByBytes(std::string_view columns, std::string_view page, std::string_view order,
                       std::string_view limit) {
  auto text = [](std::string_view part) { return absl::string_view(part.data(), part.size()); };
  return absl::StrCat("SELECT ", text(columns), ", total FROM (SELECT *, count(*) OVER () AS total, sum(size) OVER (",
                      text(order), " ROWS UNBOUNDED PRECEDING) - size AS before FROM (", text(page),
                      ") AS page) AS cut WHERE before ", text(limit), " ", text(order));
}

absl::StatusOr<v1::Job> PostgresStore::GetJob(std::string_view job_id, std::string_view tenant) {
  Reader reader = Read();
  PostgresStatement statement("SELECT head, specs FROM jobs WHERE id = $1 AND state <> 0 AND ($2 = '' OR tenant = $2)");
  auto rows = reader.Query(statement.Bind(job_id).Bind(tenant));
  if (!rows.ok()) return rows.status();
  if (rows->size() == 0) return NoSuchJob(job_id);
  v1::Job job;
  absl::Status parsed = ParseJob(rows->Bytes(0, 0), rows->Bytes(0, 1), job);
  if (!parsed.ok()) return parsed;
  return job;
}

absl::StatusOr<JobPage> PostgresStore::ListJobs(std::string_view tenant, const v1::JobFilter& filter,
                                                std::string_view before_id, int32_t limit) {
  Reader reader = Read();
  auto rows = reader.QueryOnce(ListStatement(tenant, filter, before_id, int64_t{limit} + 1));
  if (!rows.ok()) return rows.status();
  JobPage page;
  const int count = std::min<int>(rows->size(), limit);
  for (int i = 0; i < count; ++i) {
    absl::Status parsed = ParseJob(rows->Bytes(i, 0), rows->Bytes(i, 1), page.jobs.emplace_back());
    if (!parsed.ok()) return parsed;
  }
  page.more = rows->size() > 0 && rows->Integer(0, 2) > count;
  return page;
}

absl::StatusOr<std::optional<IdempotencyWrite>> PostgresStore::FindIdempotency(std::string_view tenant,
                                                                               std::string_view request_id) {
  Reader reader = Read();
  PostgresStatement statement("SELECT request, job_ids FROM idempotency WHERE tenant = $1 AND request_id = $2");
  auto rows = reader.Query(statement.Bind(tenant).Bind(request_id));
  if (!rows.ok()) return rows.status();
  if (rows->size() == 0) return std::optional<IdempotencyWrite>();
  IdempotencyWrite found;
  found.tenant = tenant;
  found.request_id = request_id;
  found.request = rows->Bytes(0, 0);
  found.job_ids = absl::StrSplit(std::string(rows->Bytes(0, 1)), ',');
  return found;
}

absl::StatusOr<std::vector<v1::Attempt>> PostgresStore::ListAttempts(std::string_view job_id) {
  Reader reader = Read();
  PostgresStatement statement("SELECT body FROM attempts WHERE job_id = $1 ORDER BY attempt DESC");
  return Parse<v1::Attempt>(reader.Query(statement.Bind(job_id)));
}

absl::StatusOr<std::vector<v1::Checkpoint>> PostgresStore::ListCheckpoints(std::string_view job_id) {
  Reader reader = Read();
  PostgresStatement statement(
      "SELECT body FROM checkpoints WHERE job_id = $1 ORDER BY attempt DESC, step DESC, name DESC");
  return Parse<v1::Checkpoint>(reader.Query(statement.Bind(job_id)));
}

absl::StatusOr<std::vector<ArtifactWrite>> PostgresStore::ReadArtifacts(std::string_view job_id, bool stored) {
  Reader reader = Read();
  // Of each name the one of the newest attempt.
  PostgresStatement statement(
      "SELECT DISTINCT ON (name) attempt, body FROM artifacts WHERE job_id = $1 AND stored = $2 "
      "ORDER BY name, attempt DESC");
  auto rows = reader.Query(statement.Bind(job_id).Bind(stored ? 1 : 0));
  if (!rows.ok()) return rows.status();
  std::vector<ArtifactWrite> artifacts;
  for (int i = 0; i < rows->size(); ++i) {
    ArtifactWrite& artifact = artifacts.emplace_back();
    artifact.job_id = job_id;
    artifact.attempt = static_cast<int32_t>(rows->Integer(i, 0));
    artifact.kind = stored ? ArtifactWrite::Kind::kStored : ArtifactWrite::Kind::kWanted;
    absl::Status parsed = ParseRow(rows->Bytes(i, 1), artifact.artifact);
    if (!parsed.ok()) return parsed;
  }
  return artifacts;
}

absl::StatusOr<std::vector<ArtifactWrite>> PostgresStore::ListArtifacts(std::string_view job_id) {
  return ReadArtifacts(job_id, /*stored=*/true);
}

absl::StatusOr<std::vector<ArtifactWrite>> PostgresStore::ListWantedArtifacts(std::string_view job_id) {
  return ReadArtifacts(job_id, /*stored=*/false);
}

absl::StatusOr<std::optional<v1::Report>> PostgresStore::GetReport(std::string_view job_id) {
  Reader reader = Read();
  PostgresStatement statement("SELECT body FROM reports WHERE job_id = $1");
  auto rows = reader.Query(statement.Bind(job_id));
  if (!rows.ok()) return rows.status();
  if (rows->size() == 0) return std::optional<v1::Report>();
  return ParseReport(job_id, rows->Bytes(0, 0));
}

absl::StatusOr<std::vector<DeletedJob>> PostgresStore::ListDeletedJobs(std::string_view after_id, int32_t limit) {
  Reader reader = Read();
  PostgresStatement statement(
      "SELECT id, EXISTS (SELECT 1 FROM telemetry WHERE job_id = jobs.id), "
      "EXISTS (SELECT 1 FROM checkpoints WHERE job_id = jobs.id) "
      "FROM jobs WHERE state = 0 AND id > $1 ORDER BY id LIMIT $2");
  auto rows = reader.Query(statement.Bind(after_id).Bind(int64_t{limit}));
  if (!rows.ok()) return rows.status();
  std::vector<DeletedJob> jobs;
  for (int i = 0; i < rows->size(); ++i) {
    jobs.push_back({std::string(rows->Bytes(i, 0)), rows->Integer(i, 1) != 0, rows->Integer(i, 2) != 0});
  }
  return jobs;
}

absl::StatusOr<std::vector<JobDeletion>> PostgresStore::ListExpiredJobs(const RetentionQuery& query, int32_t limit) {
  Reader reader = Read();
  int64_t before = query.ended_before_micros;
  if (query.keep_newest > 0) {
    PostgresStatement oldest_kept(
        "SELECT end_micros FROM jobs WHERE state IN (7, 8, 9) ORDER BY end_micros DESC, id DESC LIMIT 1 OFFSET $1");
    auto row = reader.Query(oldest_kept.Bind(query.keep_newest - 1));
    if (!row.ok()) return row.status();
    if (row->size() > 0) before = std::max(before, row->Integer(0, 0));
  }
  PostgresStatement statement(
      "SELECT id, etag, tenant FROM jobs WHERE state IN (7, 8, 9) AND end_micros < $1 "
      "ORDER BY end_micros, id LIMIT $2");
  auto rows = reader.Query(statement.Bind(before).Bind(int64_t{limit}));
  if (!rows.ok()) return rows.status();
  std::vector<JobDeletion> jobs;
  for (int i = 0; i < rows->size(); ++i) {
    jobs.push_back({std::string(rows->Bytes(i, 0)), std::string(rows->Bytes(i, 1)), std::string(rows->Bytes(i, 2))});
  }
  return jobs;
}

}  // namespace mantissa::server
