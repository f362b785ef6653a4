// A session of libpq with an owner, and its errors as statuses.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "server/store/postgres_rows.h"
#include "server/store/postgres_statement.h"

struct pg_conn;
struct pg_result;

namespace mantissa::server {

// What PostgreSQL said, by its SQLSTATE, of a statement that it has rolled back. RESOURCE_EXHAUSTED: the disk is full.
// UNAVAILABLE: busy, a deadlock, a serialization failure, a timeout, shutting down; another try may do. ABORTED: a
// constraint, or require_one_row. FAILED_PRECONDITION: the database is not as it must be (rights, schema, read-only),
// or require_epoch. INVALID_ARGUMENT: a value that no column holds (a text with a NUL). DATA_LOSS: the database is
// damaged. INTERNAL: our own mistake.
absl::Status PostgresError(std::string_view sqlstate, std::string_view what);

struct PostgresOptions {
  // A statement may take this long; the server ends it then, and soon after we end the connection.
  std::chrono::milliseconds reply_timeout{30'000};
  // A statement waits this long for rows and tables that another session has locked.
  std::chrono::milliseconds lock_timeout{5'000};
  // The server ends a session that has said nothing for this long; 0: never.
  std::chrono::milliseconds idle_timeout{0};
};

// A session. What is committed through it is on the disk, whatever the database's default says; where the link is cut,
// either side notices within seconds. Not thread-safe.
class PostgresConnection {
 public:
  // `conninfo` as libpq takes it, "host=... dbname=..." or "postgresql://..."; what it leaves out comes from the usual
  // environment variables. UNAVAILABLE, with libpq's reason: no server there, or it lets us not in;
  // FAILED_PRECONDITION: one that is older than PostgreSQL 14, or whose settings do not let it keep what it has
  // acknowledged.
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const std::string& conninfo,
                                                                  const PostgresOptions& options = {});
  ~PostgresConnection();
  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  // Any number of statements, without values, as one transaction unless they say otherwise; rows are thrown away.
  absl::Status Execute(const std::string& sql);
  // One statement, prepared once for its text. For texts that are made from requests: QueryOnce, which keeps nothing.
  absl::StatusOr<PostgresRows> Query(const PostgresStatement& statement);
  absl::StatusOr<PostgresRows> QueryOnce(const PostgresStatement& statement);

  // BEGIN, the statements, COMMIT, all sent before the first answer is waited for. The first statement that fails ends
  // the transaction, and its error is the result: then nothing was committed. UNAVAILABLE: the connection was lost, and
  // certainly nothing was committed. UNKNOWN: it was lost, or the server failed, after COMMIT had been sent.
  absl::Status RunTransaction(const std::vector<PostgresStatement>& statements);

  // False once the connection is lost, which this also looks for: the server may have ended a session that was idle.
  // A connection that is lost stays so.
  bool Alive();

 private:
  // A result that says an error, and whether the server itself said it.
  struct Failure {
    absl::Status status;
    bool ends_session = false;
  };

  PostgresConnection(pg_conn* connection, const PostgresOptions& options)
      : connection_(connection), options_(options) {}

  absl::Status Configure();
  absl::Status Prepare(const PostgresStatement& statement);
  bool Send(const PostgresStatement& statement, const std::string& prepared_as);
  absl::StatusOr<PostgresRows> LastResult(const PostgresStatement& statement);
  std::optional<Failure> FailureOf(const pg_result* result, std::string_view subject);
  bool FlushAll();
  bool Await();
  bool Wait(bool for_room, std::chrono::steady_clock::time_point deadline);
  absl::Status Lost(absl::StatusCode code = absl::StatusCode::kUnavailable);

  pg_conn* connection_;
  const PostgresOptions options_;
  // Why it is of no use any more; empty while it is.
  std::string lost_;
  std::map<std::string, std::string, std::less<>> prepared_;  // text -> name
};

}  // namespace mantissa::server
