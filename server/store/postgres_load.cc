// What a start, or a take-over, needs: the jobs that are not over.
#include <unordered_map>

#include "server/store/postgres_store.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {
namespace {

// Jobs that are loaded together: enough that round trips do not count, few enough that a page fits into memory whatever
// their rows hold.
constexpr int64_t kPageJobs = 128;
constexpr int64_t kOlderRows = 16;

// Which of a page's jobs each row belongs to.
using Index = std::unordered_map<std::string, LiveJob*>;

// Calls `take` with the job of each row, whose id is the first column, and the row's number.
template <typename Take>
absl::Status ForEachRow(PostgresConnection& connection, std::string_view sql, const std::vector<std::string>& ids,
                        const Index& index, Take take) {
  PostgresStatement statement(sql);
  auto rows = connection.Query(statement.Bind(ids));
  if (!rows.ok()) return rows.status();
  for (int i = 0; i < rows->size(); ++i) {
    const auto job = index.find(std::string(rows->Bytes(i, 0)));
    if (job == index.end()) return absl::InternalError("store: a row that was not asked for");
    absl::Status status = take(*job->second, *rows, i);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<StoredState> PostgresStore::Load() {
  if (epoch_ == 0) return absl::FailedPreconditionError("store: this server has begun no epoch");
  // The lost session may not have begun what it was sent, and would still do it after this load, under an epoch that is
  // still good. A later epoch ends that.
  if (suspect_) {
    const auto epoch = BeginEpoch();
    if (!epoch.ok()) return epoch.status();
  }
  auto writer = Writer();
  if (!writer.ok()) return writer.status();
  PostgresConnection& connection = **writer;
  {
    auto row = connection.Query(PostgresStatement("SELECT epoch FROM server WHERE only_row = 1"));
    if (!row.ok()) return row.status();
    if (row->size() != 1 || row->Integer(0, 0) != epoch_) {
      return absl::FailedPreconditionError("store: another server has taken over");
    }
  }
  StoredState stored;
  absl::Status status = LoadRest(connection, stored);
  if (!status.ok()) return status;
  std::vector<LiveJob>& jobs = stored.jobs;
  std::string after;
  while (true) {
    // Each branch brings as many as a page has room for, so no id is passed over.
    PostgresStatement page(
        "SELECT id, head, specs, queued_ms, total_ms FROM jobs WHERE id IN ("
        "(SELECT id FROM jobs WHERE state NOT IN (0, 7, 8, 9) AND id > $1 ORDER BY id LIMIT $2) UNION "
        "(SELECT DISTINCT job_id FROM artifacts JOIN jobs ON jobs.id = job_id WHERE stored = 0 AND state <> 0 AND "
        "job_id > $1 ORDER BY job_id LIMIT $2)) ORDER BY id LIMIT $2");
    auto rows = connection.Query(page.Bind(after).Bind(kPageJobs));
    if (!rows.ok()) return rows.status();
    const size_t first = jobs.size();
    for (int i = 0; i < rows->size(); ++i) {
      LiveJob& live = jobs.emplace_back();
      live.times.queued = std::chrono::milliseconds(rows->Integer(i, 3));
      live.times.total = std::chrono::milliseconds(rows->Integer(i, 4));
      status = ParseJob(rows->Bytes(i, 1), rows->Bytes(i, 2), live.job);
      if (!status.ok()) return status;
    }
    status = LoadRows(connection, jobs, first);
    if (!status.ok()) return status;
    if (rows->size() < kPageJobs) return stored;
    after = jobs.back().job.id();
  }
}

absl::Status PostgresStore::LoadRest(PostgresConnection& connection, StoredState& stored) {
  auto drained = connection.Query(PostgresStatement("SELECT id FROM drained_workers ORDER BY id"));
  if (!drained.ok()) return drained.status();
  for (int i = 0; i < drained->size(); ++i) stored.drained_workers.emplace_back(drained->Bytes(i, 0));
  auto orphans = connection.Query(PostgresStatement(
      "SELECT body FROM jobs JOIN checkpoints ON job_id = jobs.id WHERE state = 0 ORDER BY job_id, checkpoints.name"));
  if (!orphans.ok()) return orphans.status();
  for (int i = 0; i < orphans->size(); ++i) {
    absl::Status status = ParseRow(orphans->Bytes(i, 0), stored.orphans.emplace_back());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status PostgresStore::LoadRows(PostgresConnection& connection, std::vector<LiveJob>& jobs, size_t first) {
  std::vector<std::string> ids;
  Index index;
  for (size_t i = first; i < jobs.size(); ++i) {
    ids.push_back(jobs[i].job.id());
    index[ids.back()] = &jobs[i];
  }
  absl::Status status = ForEachRow(
      connection, "SELECT job_id, body, token FROM attempts WHERE job_id = ANY ($1) ORDER BY job_id, attempt", ids,
      index, [](LiveJob& live, const PostgresRows& rows, int row) {
        return ParseAttempt(rows.Bytes(row, 1), rows.Bytes(row, 2), live.attempts.emplace_back());
      });
  if (!status.ok()) return status;

  status = ForEachRow(
      connection, "SELECT job_id, body FROM checkpoints WHERE job_id = ANY ($1) ORDER BY job_id, attempt, step, name",
      ids, index, [](LiveJob& live, const PostgresRows& rows, int row) {
        return ParseRow(rows.Bytes(row, 1), live.checkpoints.emplace_back());
      });
  if (!status.ok()) return status;

  status = ForEachRow(connection,
                      "SELECT job_id, attempt, body FROM artifacts WHERE job_id = ANY ($1) AND stored = 0 "
                      "ORDER BY job_id, attempt, name",
                      ids, index, [](LiveJob& live, const PostgresRows& rows, int row) {
                        ArtifactWrite& wanted = live.wanted_artifacts.emplace_back();
                        wanted.job_id = live.job.id();
                        wanted.attempt = static_cast<int32_t>(rows.Integer(row, 1));
                        wanted.kind = ArtifactWrite::Kind::kWanted;
                        return ParseRow(rows.Bytes(row, 2), wanted.artifact);
                      });
  if (!status.ok()) return status;
  return LoadTelemetry(connection, ids, jobs, first);
}

absl::Status PostgresStore::LoadTelemetry(PostgresConnection& connection, const std::vector<std::string>& ids,
                                          std::vector<LiveJob>& jobs, size_t first) {
  Index index;
  for (size_t i = first; i < jobs.size(); ++i) index[jobs[i].job.id()] = &jobs[i];
  // Jobs whose newest row is the server's own, and where that row begins.
  std::vector<std::pair<LiveJob*, int64_t>> unsaid;
  absl::Status status = ForEachRow(connection,
                                   "SELECT wanted.id, newest.first_sequence, newest.last_sequence, newest.segments "
                                   "FROM unnest($1) AS wanted (id) CROSS JOIN LATERAL (SELECT first_sequence, "
                                   "last_sequence, segments FROM telemetry "
                                   "WHERE job_id = wanted.id ORDER BY first_sequence DESC LIMIT 1) AS newest",
                                   ids, index, [&](LiveJob& live, const PostgresRows& rows, int row) {
                                     live.last_sequence = rows.Integer(row, 2);
                                     const absl::StatusOr<bool> found = TakeAttemptSequence(
                                         {live.job.id(), rows.Integer(row, 1), rows.Bytes(row, 3)}, live);
                                     if (found.ok() && !*found) unsaid.emplace_back(&live, rows.Integer(row, 1));
                                     return found.status();
                                   });
  if (!status.ok()) return status;
  for (auto& [live, before] : unsaid) {
    for (bool found = false; !found;) {
      PostgresStatement older(
          "SELECT first_sequence, segments FROM telemetry WHERE job_id = $1 AND first_sequence < $2 "
          "ORDER BY first_sequence DESC LIMIT $3");
      auto rows = connection.Query(older.Bind(live->job.id()).Bind(before).Bind(kOlderRows));
      if (!rows.ok()) return rows.status();
      if (rows->size() == 0) break;
      for (int i = 0; i < rows->size() && !found; ++i) {
        const absl::StatusOr<bool> taken =
            TakeAttemptSequence({live->job.id(), rows->Integer(i, 0), rows->Bytes(i, 1)}, *live);
        if (!taken.ok()) return taken.status();
        found = *taken;
        before = rows->Integer(i, 0);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace mantissa::server
