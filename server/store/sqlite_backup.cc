#include "server/store/sqlite_backup.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>
#include <vector>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"
#include "process/file_descriptor.h"
#include "process/ids.h"
#include "server/core/proto_time.h"
#include "server/store/sqlite.h"
#include "server/store/stored_rows.h"

namespace mantissa::server {
namespace {

// More attempts than any job makes between a backup and the day on which it is needed.
constexpr int32_t kSkippedAttempts = 1'000;
constexpr int64_t kSkippedEpochs = 1'000;
constexpr char kRestored[] = "restored from a backup";

absl::Status WriteAttempt(SqliteConnection& copy, v1::Attempt attempt) {
  attempt.mutable_placements(0)->set_token(process::RandomToken());
  const absl::StatusOr<AttemptRow> row = ToAttemptRow(attempt);
  if (!row.ok()) return row.status();
  auto statement =
      copy.Prepare("INSERT OR REPLACE INTO attempts (job_id, attempt, state, token, body) VALUES (?, ?, ?, ?, ?)");
  if (!statement.ok()) return statement.status();
  return statement->Bind(attempt.job_id())
      .Bind(attempt.number())
      .Bind(attempt.state())
      .BindBlob(row->token)
      .BindBlob(row->body)
      .Run();
}

// The attempts that ran, and one that never did, whose number the next one follows.
absl::Status EndAttempts(SqliteConnection& copy, const v1::Job& job) {
  std::vector<v1::Attempt> lost;
  {
    auto statement = copy.Prepare("SELECT body, token FROM attempts WHERE job_id = ? AND state IN (1, 2)");
    if (!statement.ok()) return statement.status();
    statement->Bind(job.id());
    while (true) {
      auto row = statement->Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      absl::Status parsed = ParseAttempt(statement->Bytes(0), statement->Bytes(1), lost.emplace_back());
      if (!parsed.ok()) return parsed;
    }
  }
  v1::Attempt& skipped = lost.emplace_back();
  skipped.set_job_id(job.id());
  skipped.set_number(job.attempt() + kSkippedAttempts);
  skipped.set_world_size(1);
  skipped.add_placements()->set_worker_id("restored");
  skipped.mutable_placements(0)->add_device_ids("none");
  for (v1::Attempt& attempt : lost) {
    attempt.set_state(v1::Attempt::LOST);
    // Nobody's fault: it costs no retry.
    attempt.set_reason(v1::Reason::WORKER_STOPPED);
    attempt.set_message(kRestored);
    absl::Status written = WriteAttempt(copy, attempt);
    if (!written.ok()) return written;
  }
  return absl::OkStatus();
}

absl::Status FenceJob(SqliteConnection& copy, v1::Job job, const process::Clock& clock) {
  absl::Status status = EndAttempts(copy, job);
  if (!status.ok()) return status;
  switch (job.state()) {
    case v1::Job::PAUSING:
      job.set_state(v1::Job::PAUSED);
      break;
    case v1::Job::CANCELLING: {
      job.set_state(v1::Job::CANCELLED);
      const auto since = std::chrono::duration_cast<std::chrono::seconds>(clock.WallNow().time_since_epoch());
      job.mutable_end_time()->set_seconds(since.count());
      break;
    }
    case v1::Job::STARTING:
    case v1::Job::RUNNING:
      job.set_state(v1::Job::QUEUED);
      job.set_reason(v1::Reason::WAITING_FOR_WORKER);
      break;
    default:
      break;
  }
  job.set_state_message(kRestored);
  job.set_attempt(job.attempt() + kSkippedAttempts);
  int64_t revision = 0;
  std::from_chars(job.etag().data(), job.etag().data() + job.etag().size(), revision);
  job.set_etag(absl::StrCat(revision + kSkippedAttempts));
  auto update = copy.Prepare("UPDATE jobs SET state = ?, etag = ?, end_micros = ?, head = ? WHERE id = ?");
  if (!update.ok()) return update.status();
  job.clear_spec();
  job.clear_resolved_spec();
  const std::string head = job.SerializeAsString();
  return update->Bind(job.state()).Bind(job.etag()).Bind(ToMicros(job.end_time())).BindBlob(head).Bind(job.id()).Run();
}

absl::Status Fence(SqliteConnection& copy, const process::Clock& clock) {
  std::vector<v1::Job> live;
  {
    auto statement = copy.Prepare("SELECT head, specs FROM jobs WHERE state >= 1 AND state <= 6 ORDER BY id");
    if (!statement.ok()) return statement.status();
    while (true) {
      auto row = statement->Step();
      if (!row.ok()) return row.status();
      if (!*row) break;
      absl::Status parsed = ParseJob(statement->Bytes(0), statement->Bytes(1), live.emplace_back());
      if (!parsed.ok()) return parsed;
    }
  }
  absl::Status status = copy.Execute("BEGIN IMMEDIATE");
  // Files that a worker was asked for: it will not know this server.
  if (status.ok()) status = copy.Execute("DELETE FROM artifacts WHERE stored = 0");
  if (status.ok()) status = copy.Execute("UPDATE attempts SET token = randomblob(16)");
  if (status.ok()) status = copy.Execute(absl::StrCat("UPDATE server SET epoch = epoch + ", kSkippedEpochs));
  for (v1::Job& job : live) {
    if (status.ok()) status = FenceJob(copy, std::move(job), clock);
  }
  MANTISSA_FAILPOINT("backup.before_commit");
  return status.ok() ? copy.Execute("COMMIT") : status;
}

absl::Status SyncPath(const std::string& path) {
  const process::FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.valid() && ::fsync(file.get()) == 0) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, "the copy can't be synced");
}

}  // namespace

absl::Status BackUp(const std::string& path, const std::string& target, const process::Clock& clock) {
  if (!std::filesystem::exists(path)) {
    return absl::NotFoundError(absl::StrCat(path, " is not there; name the server's folder with --data-dir"));
  }
  if (std::filesystem::exists(target)) {
    return absl::AlreadyExistsError(absl::StrCat(target, " is there already; name a new file"));
  }
  const std::string unfinished = target + ".unfinished";
  std::error_code ignored;
  std::filesystem::remove(unfinished, ignored);
  absl::Status status;
  {
    auto source = SqliteConnection::Open(path, SqliteConnection::Mode::kReadOnly);
    if (!source.ok()) return source.status();
    status = (*source)->Execute("PRAGMA busy_timeout = 5000");
    if (!status.ok()) return status;
    auto copy_into = (*source)->Prepare("VACUUM INTO ?");
    if (!copy_into.ok()) return copy_into.status();
    status = copy_into->Bind(unfinished).Run();
  }
  MANTISSA_FAILPOINT("backup.copied");
  if (status.ok()) {
    auto copy = SqliteConnection::Open(unfinished, SqliteConnection::Mode::kReadWriteCreate);
    status = copy.ok() ? Fence(**copy, clock) : copy.status();
  }
  MANTISSA_FAILPOINT("backup.before_sync");
  if (status.ok()) status = SyncPath(unfinished);
  MANTISSA_FAILPOINT("backup.before_rename");
  if (status.ok() && ::rename(unfinished.c_str(), target.c_str()) != 0) {
    status = absl::ErrnoToStatus(errno, "the copy can't be put in place");
  }
  MANTISSA_FAILPOINT("backup.after_rename");
  const std::string folder = std::filesystem::path(target).parent_path().string();
  if (status.ok()) status = SyncPath(folder.empty() ? "." : folder);
  std::filesystem::remove(unfinished, ignored);
  return status;
}

}  // namespace mantissa::server
