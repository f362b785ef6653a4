#include "server/store/active_lock.h"

#include <time.h>
#include <utility>

#include "absl/strings/str_cat.h"

#include "process/failpoint.h"
#include "process/log.h"

namespace mantissa::server {
namespace {

using process::Level;
using process::Log;

// "MNTS", and the schema, so that two services may share a database.
constexpr char kTryLock[] = "SELECT pg_try_advisory_lock(1296979027, hashtext(current_schema()))";
// A condition: this session has it. Asked of the server, not remembered: behind a pooler it may be another session.
constexpr char kHeld[] =
    "EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted AND "
    "classid = 1296979027 AND objid = hashtext(current_schema())::oid AND objsubid = 2)";

// Not prepared: behind a pooler the answer may come from a session that knows of no preparation.
absl::StatusOr<int64_t> AskInteger(PostgresConnection& connection, std::string_view sql) {
  auto rows = connection.QueryOnce(PostgresStatement(sql));
  if (!rows.ok()) return rows.status();
  if (rows->size() != 1) return absl::FailedPreconditionError("store: PostgreSQL gave no answer where there is one");
  return rows->Integer(0, 0);
}

// Note [Poolers]
// A session lock is of use only on a session that stays ours. A pooler in transaction mode lends us one of its sessions
// for each transaction, and a lock taken on it belongs to whoever is lent that session next. On an idle pooler a lone
// client is lent the same session every time, so asking twice proves nothing. Two clients that ask in turn are lent the
// same session, if the pooler lends out the one given back last; if it lends out the one that has waited longest, one
// of them is lent another before long. Sessions that are ours differ, and stay.
//
// What this cannot see: a pooler that prefers to give a client what it had before, and mixes sessions only under load.
// Ping does, within a second: it asks whether the session that answers has the lock. And whatever happens, an epoch
// that is not the newest writes nothing. A pooler in session mode is let pass; it adds nothing but a place where the
// link can break.
absl::Status RefuseTransactionPooler(PostgresConnection& ours, PostgresConnection& other) {
  constexpr int kLooks = 4;  // two would do on a pooler that nobody else uses
  constexpr char kPid[] = "SELECT pg_backend_pid()";
  const absl::StatusOr<int64_t> pid = AskInteger(ours, kPid);
  if (!pid.ok()) return pid.status();
  const absl::StatusOr<int64_t> other_pid = AskInteger(other, kPid);
  if (!other_pid.ok()) return other_pid.status();
  for (int look = 0; look < kLooks; ++look) {
    const absl::StatusOr<int64_t> again = AskInteger(ours, kPid);
    if (!again.ok()) return again.status();
    if (*again != *pid || *again == *other_pid) {
      return absl::FailedPreconditionError(
          "store: between this server and PostgreSQL is a pooler that gives each transaction another session "
          "(pool_mode = transaction); connect to PostgreSQL itself, or set the pooler to session mode");
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::chrono::nanoseconds BootTime() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

// Waits until nobody else uses the session, so that no lock is held while PostgreSQL is asked.
class ActiveLock::Use {
 public:
  explicit Use(ActiveLock& lock) : lock_(lock) {
    process::MutexLock held(lock_.mutex_);
    while (lock_.in_use_) lock_.changed_.Wait(lock_.mutex_);
    lock_.in_use_ = true;
    session = std::move(lock_.session_);
    held_ = lock_.held_;
  }
  ~Use() {
    process::MutexLock held(lock_.mutex_);
    lock_.in_use_ = false;
    lock_.session_ = std::move(session);
    lock_.changed_.NotifyAll();
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

  bool held() const { return held_; }

  std::unique_ptr<PostgresConnection> session;  // null: none is open

 private:
  ActiveLock& lock_;
  bool held_ = false;
};

ActiveLock::ActiveLock(std::string conninfo, ActiveLockOptions options)
    : conninfo_(std::move(conninfo)), options_(std::move(options)) {}

ActiveLock::~ActiveLock() = default;

// Note [Standing by]
// A standby asks again and again instead of waiting inside pg_advisory_lock(): a statement that waits for hours keeps
// every row that was deleted since from being vacuumed, in all of the database, and can be ended only from a second
// connection. Asking also tells it within an interval that PostgreSQL has gone.
absl::Status ActiveLock::Acquire() {
  absl::StatusCode told = absl::StatusCode::kOk;  // of a wait that goes on for the same reason
  while (true) {
    {
      process::MutexLock lock(mutex_);
      if (cancelled_) return absl::CancelledError("store: no longer wanted");
    }
    const absl::StatusOr<bool> ours = TryAcquire();
    if (ours.ok() && *ours) return absl::OkStatus();
    const absl::Status why = ours.ok() ? absl::AlreadyExistsError("another server is active") : ours.status();
    const bool passes = ours.ok() || (Reached() && absl::IsUnavailable(why));
    if (!passes) return why;
    if (std::exchange(told, why.code()) != why.code()) Log(Level::kInfo, "standing by", {{"why", why}});
    process::MutexLock lock(mutex_);
    const auto next = std::chrono::steady_clock::now() + options_.poll_interval;
    while (!cancelled_ && changed_.WaitUntil(mutex_, next)) {
    }
  }
}

absl::StatusOr<bool> ActiveLock::TryAcquire() {
  Use use(*this);
  if (use.session == nullptr || !use.session->Alive()) {
    auto opened = OpenSession();
    absl::Status status = Drop(use, opened.status());
    if (!status.ok()) return status;
    use.session = *std::move(opened);
    process::MutexLock lock(mutex_);
    reached_ = true;
  }
  const std::chrono::nanoseconds sent = options_.boot_time();
  const absl::StatusOr<int64_t> ours = AskInteger(*use.session, kTryLock);
  if (!ours.ok()) return Drop(use, ours.status());
  if (*ours == 0) return false;
  SetHeld(sent);
  MANTISSA_FAILPOINT("lock.acquired");
  return true;
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> ActiveLock::OpenSession() {
  PostgresOptions options;
  options.reply_timeout = options_.reply_timeout;
  options.lock_timeout = options_.bump_patience;
  options.idle_timeout = options_.idle_timeout;
  auto ours = PostgresConnection::Open(conninfo_, options);
  if (!ours.ok()) return ours.status();
  auto other = PostgresConnection::Open(conninfo_, options);
  if (!other.ok()) return other.status();
  absl::Status status = RefuseTransactionPooler(**ours, **other);
  if (!status.ok()) return status;
  auto schema = AskInteger(**ours, "SELECT count(current_schema())");
  if (!schema.ok()) return schema.status();
  if (*schema == 0) {
    return absl::FailedPreconditionError(
        "store: the user's search_path names no schema that is there; create one, or name one in the connection string "
        "(options=-csearch_path=...)");
  }
  return ours;
}

void ActiveLock::Cancel() {
  process::MutexLock lock(mutex_);
  cancelled_ = true;
  changed_.NotifyAll();
}

absl::Status ActiveLock::Ping() {
  Use use(*this);
  if (!use.held()) return absl::FailedPreconditionError("store: this server does not hold the lock of the active one");
  const std::chrono::nanoseconds sent = options_.boot_time();
  const absl::StatusOr<int64_t> held = AskInteger(*use.session, absl::StrCat("SELECT ", kHeld));
  if (!held.ok()) return Drop(use, held.status());
  if (*held == 0) {
    return Drop(use, absl::FailedPreconditionError("store: the session that answers does not hold the lock"));
  }
  SetHeld(sent);
  return absl::OkStatus();
}

bool ActiveLock::SessionOpen() {
  Use use(*this);
  return use.session != nullptr && use.session->Alive();
}

bool ActiveLock::IsFresh() const {
  const std::chrono::nanoseconds now = options_.boot_time();
  process::MutexLock lock(mutex_);
  return held_ && now - last_ping_ < options_.fresh_for;
}

bool ActiveLock::Reached() const {
  process::MutexLock lock(mutex_);
  return reached_;
}

void ActiveLock::SetHeld(std::chrono::nanoseconds since) {
  process::MutexLock lock(mutex_);
  held_ = true;
  last_ping_ = since;
}

absl::Status ActiveLock::Drop(Use& use, const absl::Status& why) {
  use.session.reset();
  process::MutexLock lock(mutex_);
  held_ = false;
  return why;
}

// Note [Epoch fencing]
// The lock says who should be active; a server that was stopped, or whose machine slept, may still believe that it is.
// So every transaction that writes begins with a look at the epoch, FOR SHARE, compared with the one that this server
// began with, and a new holder first raises it. The row's lock orders the two: a transaction that looked before the
// raise is over when the raise is done, and is loaded with the rest; one that looks after it, or waits for it, finds an
// epoch that is not its own and writes nothing. Without the row's lock it could look before and commit after.
//
// A transaction that looked and then hangs holds the raise up. PostgreSQL ends sessions that are idle in a transaction,
// but not one that waits in the middle of a pipeline, as that of a server which is stopped while it sends: for it the
// session is busy. So the new holder ends the sessions that stand in its way, after some patience; who they are, the
// lock on the table says. They are of the same user, or the attempt is refused and says so.
absl::StatusOr<int64_t> ActiveLock::BumpEpoch() {
  constexpr int kAttempts = 3;
  constexpr char kEndOlder[] =
      "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'relation' AND granted AND "
      "database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relation = 'server'::regclass "
      "AND mode IN ('RowShareLock', 'RowExclusiveLock') AND pid <> pg_backend_pid()";
  Use use(*this);
  if (!use.held()) {
    return absl::FailedPreconditionError(
        "store: only the server that holds the lock of the active one begins an epoch");
  }
  const PostgresStatement raise(
      absl::StrCat("UPDATE server SET epoch = epoch + 1 WHERE only_row = 1 AND ", kHeld, " RETURNING epoch"));
  absl::Status status;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const std::chrono::nanoseconds sent = options_.boot_time();
    auto rows = use.session->QueryOnce(raise);
    if (rows.ok() && rows->size() == 1) {
      SetHeld(sent);  // as good as a ping, and pings had to wait for it
      MANTISSA_FAILPOINT("store.after_epoch");
      return rows->Integer(0, 0);
    }
    if (rows.ok()) {
      return Drop(use, absl::FailedPreconditionError("store: the session that answers does not hold the lock"));
    }
    status = rows.status();
    if (!absl::IsUnavailable(status) || !use.session->Alive()) break;
    Log(Level::kWarning, "a transaction of an older epoch does not end; ending its session");
    absl::Status ended = use.session->QueryOnce(PostgresStatement(kEndOlder)).status();
    if (!ended.ok()) status = ended;
    if (!ended.ok()) break;
  }
  if (!use.session->Alive()) return Drop(use, status);
  return status;
}

}  // namespace mantissa::server
