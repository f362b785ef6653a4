// Reads, from any thread, of what is durable.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "server/core/job_state.h"
#include "server/core/proto_time.h"
#include "server/store/sqlite_reader.h"
#include "server/store/sqlite_store.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {
namespace {

constexpr size_t kPageBytes = size_t{2} << 20;

std::string FilterSql(std::string_view tenant, const v1::JobFilter& filter, std::string_view before_id) {
  std::string where = "state <> 0";
  bool live_only = false;
  if (!tenant.empty()) where += " AND tenant = ?";
  if (!before_id.empty()) where += " AND id < ?";
  if (!filter.name().empty()) where += " AND name = ?";
  if (filter.has_created_after()) where += " AND create_micros > ?";
  if (filter.has_created_before()) where += " AND create_micros < ?";
  for (int i = 0; i < filter.labels_size(); ++i) {
    where += " AND EXISTS (SELECT 1 FROM job_labels WHERE job_id = jobs.id AND name = ? AND value = ?)";
  }
  if (filter.states_size() > 0) {
    where += " AND state IN (";
    for (int i = 0; i < filter.states_size(); ++i) where += i == 0 ? "?" : ", ?";
    where += ")";
    live_only = std::none_of(filter.states().begin(), filter.states().end(),
                             [](int state) { return IsTerminal(static_cast<v1::Job::State>(state)); });
  }
  // Live jobs are few among all that have ended, and have an index of their own: named, because the planner cannot know
  // how few, and with its condition in its own words, or it does not serve.
  return absl::StrCat("SELECT head, specs FROM jobs ", live_only ? "INDEXED BY jobs_live " : "", "WHERE ", where,
                      live_only ? " AND state >= 1 AND state <= 6" : "", " ORDER BY id DESC LIMIT ?");
}

}  // namespace

absl::StatusOr<v1::Job> SqliteStore::GetJob(std::string_view job_id, std::string_view tenant) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(
      "SELECT head, specs FROM jobs WHERE id = ?1 AND state <> 0 AND (?2 = '' OR tenant = ?2)");
  if (!statement.ok()) return statement.status();
  auto row = statement->Bind(job_id).Bind(tenant).Step();
  if (!row.ok()) return row.status();
  if (!*row) return NoSuchJob(job_id);
  v1::Job job;
  absl::Status parsed = ParseJob(statement->Bytes(0), statement->Bytes(1), job);
  if (!parsed.ok()) return parsed;
  return job;
}

absl::StatusOr<JobPage> SqliteStore::ListJobs(std::string_view tenant, const v1::JobFilter& filter,
                                              std::string_view before_id, int32_t limit) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(FilterSql(tenant, filter, before_id));
  if (!statement.ok()) return statement.status();
  if (!tenant.empty()) statement->Bind(tenant);
  if (!before_id.empty()) statement->Bind(before_id);
  if (!filter.name().empty()) statement->Bind(filter.name());
  if (filter.has_created_after()) statement->Bind(ToMicros(filter.created_after()));
  if (filter.has_created_before()) statement->Bind(ToMicros(filter.created_before()));
  for (const auto& [name, value] : filter.labels()) statement->Bind(name).Bind(value);
  for (int state : filter.states()) statement->Bind(state);
  statement->Bind(static_cast<int64_t>(limit) + 1);

  JobPage page;
  size_t bytes = 0;
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    if (static_cast<int32_t>(page.jobs.size()) == limit || bytes > kPageBytes) {
      page.more = true;
      return false;
    }
    bytes += row.Bytes(0).size() + row.Bytes(1).size();
    absl::Status parsed = ParseJob(row.Bytes(0), row.Bytes(1), page.jobs.emplace_back());
    if (!parsed.ok()) return parsed;
    return true;
  });
  if (!status.ok()) return status;
  return page;
}

absl::StatusOr<std::optional<IdempotencyWrite>> SqliteStore::FindIdempotency(std::string_view tenant,
                                                                             std::string_view request_id) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement =
      reader->connection().Prepare("SELECT request, job_ids FROM idempotency WHERE tenant = ? AND request_id = ?");
  if (!statement.ok()) return statement.status();
  auto row = statement->Bind(tenant).Bind(request_id).Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::optional<IdempotencyWrite>();
  IdempotencyWrite found;
  found.tenant = tenant;
  found.request_id = request_id;
  found.request = statement->Bytes(0);
  found.job_ids = absl::StrSplit(std::string(statement->Bytes(1)), ',');
  return found;
}

absl::StatusOr<std::vector<v1::Attempt>> SqliteStore::ListAttempts(std::string_view job_id) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare("SELECT body FROM attempts WHERE job_id = ? ORDER BY attempt DESC");
  if (!statement.ok()) return statement.status();
  statement->Bind(job_id);
  std::vector<v1::Attempt> attempts;
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) { return TakeRow(row.Bytes(0), attempts); });
  if (!status.ok()) return status;
  return attempts;
}

absl::StatusOr<std::vector<v1::Checkpoint>> SqliteStore::ListCheckpoints(std::string_view job_id) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare(
      "SELECT body FROM checkpoints WHERE job_id = ? ORDER BY attempt DESC, step DESC, name DESC");
  if (!statement.ok()) return statement.status();
  statement->Bind(job_id);
  std::vector<v1::Checkpoint> checkpoints;
  absl::Status status =
      ForEachRow(*statement, [&](SqliteStatement& row) { return TakeRow(row.Bytes(0), checkpoints); });
  if (!status.ok()) return status;
  return checkpoints;
}

absl::StatusOr<std::vector<ArtifactWrite>> SqliteStore::ReadArtifacts(std::string_view job_id, bool stored) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  // Of each name the one of the newest attempt.
  auto statement = reader->connection().Prepare(
      "SELECT attempt, body FROM artifacts AS a WHERE job_id = ?1 AND stored = ?2 AND NOT EXISTS "
      "(SELECT 1 FROM artifacts AS b WHERE b.job_id = ?1 AND b.stored = ?2 AND b.name = a.name AND b.attempt > "
      "a.attempt) ORDER BY name");
  if (!statement.ok()) return statement.status();
  statement->Bind(job_id).Bind(stored ? 1 : 0);
  std::vector<ArtifactWrite> artifacts;
  absl::Status status = ForEachRow(*statement, [&](SqliteStatement& row) -> absl::StatusOr<bool> {
    ArtifactWrite& artifact = artifacts.emplace_back();
    artifact.job_id = job_id;
    artifact.attempt = static_cast<int32_t>(row.Integer(0));
    artifact.kind = stored ? ArtifactWrite::Kind::kStored : ArtifactWrite::Kind::kWanted;
    absl::Status parsed = ParseRow(row.Bytes(1), artifact.artifact);
    if (!parsed.ok()) return parsed;
    return true;
  });
  if (!status.ok()) return status;
  return artifacts;
}

absl::StatusOr<std::vector<ArtifactWrite>> SqliteStore::ListArtifacts(std::string_view job_id) {
  return ReadArtifacts(job_id, /*stored=*/true);
}

absl::StatusOr<std::vector<ArtifactWrite>> SqliteStore::ListWantedArtifacts(std::string_view job_id) {
  return ReadArtifacts(job_id, /*stored=*/false);
}

absl::StatusOr<std::optional<v1::Report>> SqliteStore::GetReport(std::string_view job_id) {
  auto reader = Read();
  if (!reader.ok()) return reader.status();
  auto statement = reader->connection().Prepare("SELECT body FROM reports WHERE job_id = ?");
  if (!statement.ok()) return statement.status();
  auto row = statement->Bind(job_id).Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::optional<v1::Report>();
  return ParseReport(job_id, statement->Bytes(0));
}

}  // namespace mantissa::server
