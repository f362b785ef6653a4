#include "server/store/postgres.h"

#include <array>
#include <cstdint>
#include <poll.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include <libpq-fe.h>

#include "process/failpoint.h"
#include "process/log.h"

namespace mantissa::server {
namespace {

constexpr int kOldestServer = 140'000;  // the first with idle_session_timeout

// libpq moves all that it could not send yet with every piece that it sends, so it is not given more than this.
constexpr size_t kQueuedBytes = size_t{1} << 20;

// The server is the first to say that a statement takes too long; then nothing is lost but the statement.
constexpr std::chrono::milliseconds kGrace{500};

// Both ends give up a cut link within about four seconds.
constexpr char kKeepAlive[] =
    "SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; SET tcp_keepalives_count = 3;"
    "SET tcp_user_timeout = 3000;";

std::string_view Trimmed(const char* message) {
  const absl::string_view text = absl::StripSuffix(message, "\n");
  return {text.data(), text.size()};
}

absl::string_view Absl(std::string_view text) { return {text.data(), text.size()}; }

std::string_view Field(const pg_result* result, int field) {
  const char* text = PQresultErrorField(result, field);
  return text == nullptr ? std::string_view() : std::string_view(text);
}

void LogNotice(void*, const char* message) {
  process::Log(process::Level::kDebug, "PostgreSQL says", {{"notice", Trimmed(message)}});
}

absl::StatusCode CodeOf(std::string_view sqlstate) {
  if (sqlstate == "MNT01") return absl::StatusCode::kAborted;
  if (sqlstate == "MNT02") return absl::StatusCode::kFailedPrecondition;
  if (sqlstate == "53100") return absl::StatusCode::kResourceExhausted;
  if (sqlstate == "55P03" || sqlstate == "25P03") return absl::StatusCode::kUnavailable;
  if (sqlstate == "22021") return absl::StatusCode::kInvalidArgument;
  if (sqlstate == "XX001" || sqlstate == "XX002") return absl::StatusCode::kDataLoss;
  // Not ours to do, or not there: rights, tables, columns, functions, settings, a standby's read-only transactions.
  for (std::string_view state : {"42501", "42P01", "42703", "42883", "42704", "25006"}) {
    if (sqlstate == state) return absl::StatusCode::kFailedPrecondition;
  }
  const std::string_view group = sqlstate.substr(0, 2);
  if (group == "23") return absl::StatusCode::kAborted;
  if (group == "54") return absl::StatusCode::kInvalidArgument;
  if (group == "28" || group == "3D" || group == "3F") return absl::StatusCode::kFailedPrecondition;
  for (std::string_view busy : {"08", "40", "53", "57", "58"}) {
    if (group == busy) return absl::StatusCode::kUnavailable;
  }
  return absl::StatusCode::kInternal;
}

}  // namespace

absl::Status PostgresError(std::string_view sqlstate, std::string_view what) {
  return absl::Status(CodeOf(sqlstate), absl::StrCat("store: ", Absl(what), " (", Absl(sqlstate), ")"));
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Open(const std::string& conninfo,
                                                                             const PostgresOptions& options) {
  // libpq's own words on a text that it cannot read quote it, and a password may stand there.
  PQconninfoOption* parsed = PQconninfoParse(conninfo.c_str(), nullptr);
  if (parsed == nullptr) {
    return absl::InvalidArgumentError(
        "store: that is no connection string; write \"host=... dbname=... user=...\" or "
        "\"postgresql://user@host/name\"");
  }
  PQconninfoFree(parsed);
  // What stands before the connection string is a default, what stands behind it is not up to it.
  const std::array keywords = {"fallback_application_name", "connect_timeout",
                               "keepalives_idle",           "keepalives_interval",
                               "keepalives_count",          "tcp_user_timeout",
                               "target_session_attrs",      "dbname",
                               "client_encoding",           static_cast<const char*>(nullptr)};
  const std::array values = {"mantissa-server",
                             "5",
                             "1",
                             "1",
                             "3",
                             "3000",
                             "read-write",
                             conninfo.c_str(),
                             "UTF8",
                             static_cast<const char*>(nullptr)};
  std::unique_ptr<PostgresConnection> connection(
      new PostgresConnection(PQconnectdbParams(keywords.data(), values.data(), /*expand_dbname=*/1), options));
  if (PQstatus(connection->connection_) != CONNECTION_OK) return connection->Lost();
  absl::Status status = connection->Configure();
  if (!status.ok()) return status;
  return connection;
}

PostgresConnection::~PostgresConnection() { PQfinish(connection_); }

absl::Status PostgresConnection::Configure() {
  PQsetNoticeProcessor(connection_, LogNotice, nullptr);
  PQsetnonblocking(connection_, 1);
  if (PQserverVersion(connection_) < kOldestServer) {
    return absl::FailedPreconditionError(absl::StrCat("store: PostgreSQL 14 or newer is needed, and this server is ",
                                                      PQserverVersion(connection_) / 10'000));
  }
  return Execute(absl::StrCat(
      kKeepAlive, "SET idle_in_transaction_session_timeout = 4000; SET idle_session_timeout = ",
      options_.idle_timeout.count(), "; SET statement_timeout = ", options_.reply_timeout.count(),
      "; SET lock_timeout = ", options_.lock_timeout.count(),
      "; SET default_transaction_isolation = 'read committed';"
      // A database or a role may have it off; then a crash of the machine would lose what was acknowledged.
      "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"));
}

absl::Status PostgresConnection::Execute(const std::string& sql) {
  if (!Alive() || PQsendQuery(connection_, sql.c_str()) != 1) return Lost();
  return LastResult(PostgresStatement("")).status();
}

absl::StatusOr<PostgresRows> PostgresConnection::Query(const PostgresStatement& statement) {
  absl::Status status = Prepare(statement);
  if (!status.ok()) return status;
  if (!Send(statement, prepared_.find(statement.sql())->second)) return Lost();
  return LastResult(statement);
}

absl::StatusOr<PostgresRows> PostgresConnection::QueryOnce(const PostgresStatement& statement) {
  if (!Alive() || !Send(statement, "")) return Lost();
  return LastResult(statement);
}

absl::Status PostgresConnection::Prepare(const PostgresStatement& statement) {
  if (prepared_.find(statement.sql()) != prepared_.end()) return absl::OkStatus();
  std::vector<Oid> types;
  for (const PostgresStatement::Value& value : statement.values_) types.push_back(value.type);
  const std::string name = absl::StrCat("s", prepared_.size() + 1);
  if (!Alive() || PQsendPrepare(connection_, name.c_str(), statement.sql().c_str(), static_cast<int>(types.size()),
                                types.data()) != 1) {
    return Lost();
  }
  absl::Status status = LastResult(statement).status();
  if (status.ok()) prepared_.emplace(statement.sql(), name);
  return status;
}

bool PostgresConnection::Send(const PostgresStatement& statement, const std::string& prepared_as) {
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats;
  for (const PostgresStatement::Value& value : statement.values_) {
    types.push_back(value.type);
    values.push_back(value.bytes.data());
    lengths.push_back(static_cast<int>(value.bytes.size()));
    formats.push_back(value.format);
  }
  const int count = static_cast<int>(values.size());
  constexpr int kBinary = 1;
  if (prepared_as.empty()) {
    return PQsendQueryParams(connection_, statement.sql().c_str(), count, types.data(), values.data(), lengths.data(),
                             formats.data(), kBinary) == 1;
  }
  return PQsendQueryPrepared(connection_, prepared_as.c_str(), count, values.data(), lengths.data(), formats.data(),
                             kBinary) == 1;
}

absl::StatusOr<PostgresRows> PostgresConnection::LastResult(const PostgresStatement& statement) {
  PostgresRows last(nullptr);
  std::optional<Failure> failure;
  while (Await()) {
    pg_result* result = PQgetResult(connection_);
    if (result == nullptr) {
      if (failure) return failure->status;
      return last;
    }
    last = PostgresRows(result);
    if (!failure) failure = FailureOf(result, statement.subject());
  }
  return failure ? failure->status : Lost();
}

std::optional<PostgresConnection::Failure> PostgresConnection::FailureOf(const pg_result* result,
                                                                         std::string_view subject) {
  if (PQresultStatus(result) != PGRES_FATAL_ERROR) return std::nullopt;
  const std::string_view sqlstate = Field(result, PG_DIAG_SQLSTATE);
  // Without a code it is libpq that speaks: the connection is gone, or speaks another language.
  if (sqlstate.empty()) {
    Lost().IgnoreError();
    return std::nullopt;
  }
  const std::string_view message = Field(result, PG_DIAG_MESSAGE_PRIMARY);
  const std::string_view severity = Field(result, PG_DIAG_SEVERITY_NONLOCALIZED);
  Failure failure;
  failure.status = PostgresError(
      sqlstate, subject.empty() ? std::string(message) : absl::StrCat(Absl(subject), ": ", Absl(message)));
  failure.ends_session = severity == "FATAL" || severity == "PANIC";
  if (failure.ends_session && lost_.empty()) lost_ = std::string(message);
  return failure;
}

// Note [One round trip]
// A commit is what a submit waits for, so it may cost one round trip, however many rows it has: BEGIN, the look at the
// epoch, every row and COMMIT go out together, and the answers are read afterwards. Compare-and-set survives that,
// because the comparing is done there: a statement that must change exactly one row hands the number of rows to
// require_one_row(), which raises an error where it is not one. An error makes the server skip all that follows in the
// pipeline, COMMIT included, so either every guard held or nothing is written. (A division by the number of rows would
// raise an error, too, but one that says nothing; and row counts looked at here would have to be looked at before
// COMMIT is sent.)
//
// COMMIT is handed to libpq only when everything before it has left. So whatever is lost before that is certain to be
// rolled back; after it the outcome is known only if the server tells: an error at an earlier statement, or COMMIT's
// own answer, which is sent when the transaction is on the disk.
absl::Status PostgresConnection::RunTransaction(const std::vector<PostgresStatement>& statements) {
  for (const PostgresStatement& statement : statements) {
    absl::Status status = Prepare(statement);
    if (!status.ok()) return status;
  }
  if (!Alive() || PQenterPipelineMode(connection_) != 1) return Lost();
  MANTISSA_FAILPOINT("store.after_prepare");
  bool sent = Send(PostgresStatement("BEGIN"), "");
  size_t queued = 0;
  for (const PostgresStatement& statement : statements) {
    sent = sent && Send(statement, prepared_.find(statement.sql())->second);
    for (const PostgresStatement::Value& value : statement.values_) queued += value.bytes.size();
    if (queued > kQueuedBytes) {
      sent = sent && FlushAll();
      queued = 0;
    }
  }
  if (!sent || !FlushAll()) return Lost();
  if (absl::Status failed = MANTISSA_FAILPOINT_STATUS("store.before_commit"); !failed.ok()) {
    lost_ = "given up before COMMIT";
    return failed;
  }
  sent = Send(PostgresStatement("COMMIT"), "") && PQpipelineSync(connection_) == 1;
  MANTISSA_FAILPOINT("store.sent");

  const size_t commit = statements.size() + 1;  // counted from BEGIN, which is 0
  size_t at = 0;
  bool committed = false;
  std::optional<Failure> failure;
  size_t failed_at = 0;
  // Each statement's results end with a null; the last is that of the whole pipeline.
  for (bool synchronized = false; sent && !synchronized && at <= commit + 1 && Await();) {
    const PostgresRows result(PQgetResult(connection_));
    if (result.get() == nullptr) {
      ++at;
      continue;
    }
    const ExecStatusType kind = PQresultStatus(result.get());
    synchronized = kind == PGRES_PIPELINE_SYNC;
    if (at == commit && kind == PGRES_COMMAND_OK) committed = true;
    if (!failure) {
      failure = FailureOf(result.get(), at >= 1 && at < commit ? statements[at - 1].subject() : "");
      failed_at = at;
    }
  }
  if (lost_.empty() && PQexitPipelineMode(connection_) != 1) Lost().IgnoreError();
  if (committed) return absl::OkStatus();
  if (!failure) return Lost(absl::StatusCode::kUnknown);
  if (!failure->ends_session) {
    if (lost_.empty() && PQtransactionStatus(connection_) != PQTRANS_IDLE) Execute("ROLLBACK").IgnoreError();
    return failure->status;
  }
  // A server that goes down in the middle of COMMIT may have written it.
  return failed_at < commit ? failure->status : Lost(absl::StatusCode::kUnknown);
}

bool PostgresConnection::FlushAll() {
  const auto deadline = std::chrono::steady_clock::now() + options_.reply_timeout + kGrace;
  while (PQflush(connection_) == 1) {
    if (!Wait(/*for_room=*/true, deadline)) return false;
  }
  // A write that fails is kept by libpq until something is read, and PQflush calls it done.
  return Alive();
}

// True: PQgetResult has something to give. False: it never will.
bool PostgresConnection::Await() {
  const auto deadline = std::chrono::steady_clock::now() + options_.reply_timeout + kGrace;
  while (lost_.empty()) {
    const bool unsent = PQflush(connection_) == 1;
    if (PQisBusy(connection_) == 0) return true;
    if (PQstatus(connection_) == CONNECTION_BAD) return false;
    if (!Wait(unsent, deadline)) return false;
  }
  return false;
}

bool PostgresConnection::Wait(bool for_room, std::chrono::steady_clock::time_point deadline) {
  pollfd socket{PQsocket(connection_), static_cast<short>(for_room ? POLLIN | POLLOUT : POLLIN), 0};
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  const int ready = ::poll(&socket, 1, static_cast<int>(std::max<int64_t>(left.count(), 0)));
  if (ready == 0) {
    lost_ = absl::StrCat("no answer within ", options_.reply_timeout.count(), " ms");
    return false;
  }
  // What fails here shows in PQstatus, once all that had arrived is read.
  if (ready > 0 && (socket.revents & ~POLLOUT) != 0) PQconsumeInput(connection_);
  return true;
}

bool PostgresConnection::Alive() {
  while (lost_.empty()) {
    if (PQstatus(connection_) == CONNECTION_BAD) {
      Lost().IgnoreError();
      break;
    }
    pollfd socket{PQsocket(connection_), POLLIN, 0};
    if (::poll(&socket, 1, 0) <= 0) break;
    PQconsumeInput(connection_);
    PQisBusy(connection_);  // reads what has come
  }
  return lost_.empty();
}

absl::Status PostgresConnection::Lost(absl::StatusCode code) {
  if (lost_.empty()) lost_ = std::string(Trimmed(PQerrorMessage(connection_)));
  if (lost_.empty()) lost_ = "the connection is of no use any more";
  return absl::Status(code, absl::StrCat("store: PostgreSQL: ", lost_));
}

}  // namespace mantissa::server
