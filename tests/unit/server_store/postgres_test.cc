#include "server/store/postgres.h"

#include <limits>
#include <signal.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "postgres_fixture.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;
using testing::Not;

class PostgresConnectionTest : public PostgresTest {
 protected:
  std::unique_ptr<PostgresConnection> Open(PostgresOptions options = {}) {
    auto connection = PostgresConnection::Open(database_, options);
    EXPECT_TRUE(connection.ok()) << connection.status();
    return *std::move(connection);
  }
  static int64_t Pid(PostgresConnection& connection) {
    return connection.Query(PostgresStatement("SELECT pg_backend_pid()"))->Integer(0, 0);
  }
};

TEST(PostgresErrors, AreTold) {
  EXPECT_EQ(PostgresError("53100", "disk full").code(), absl::StatusCode::kResourceExhausted);
  for (const char* busy :
       {"40001", "40P01", "55P03", "53300", "53200", "57014", "57P01", "57P03", "08006", "58030", "25P03"}) {
    EXPECT_EQ(PostgresError(busy, "x").code(), absl::StatusCode::kUnavailable) << busy;
  }
  for (const char* conflict : {"23505", "23503", "23514", "MNT01"}) {
    EXPECT_EQ(PostgresError(conflict, "x").code(), absl::StatusCode::kAborted) << conflict;
  }
  for (const char* unfit : {"MNT02", "42501", "42P01", "42703", "42883", "42704", "25006", "28P01", "3D000", "3F000"}) {
    EXPECT_EQ(PostgresError(unfit, "x").code(), absl::StatusCode::kFailedPrecondition) << unfit;
  }
  for (const char* value : {"22021", "54000"}) {
    EXPECT_EQ(PostgresError(value, "x").code(), absl::StatusCode::kInvalidArgument) << value;
  }
  for (const char* damage : {"XX001", "XX002"}) {
    EXPECT_EQ(PostgresError(damage, "x").code(), absl::StatusCode::kDataLoss) << damage;
  }
  for (const char* ours : {"42601", "22012", "XX000"}) {
    EXPECT_EQ(PostgresError(ours, "x").code(), absl::StatusCode::kInternal) << ours;
  }
  EXPECT_THAT(std::string(PostgresError("53100", "no space").message()), HasSubstr("no space"));
}

TEST(PostgresErrors, AServerThatIsNotThereIsUnavailable) {
  EXPECT_EQ(PostgresConnection::Open("host=/nowhere dbname=x user=y").status().code(), absl::StatusCode::kUnavailable);
}

TEST(PostgresErrors, AConnectionStringThatCannotBeReadIsNotQuoted) {
  const absl::Status status = PostgresConnection::Open("host=x opensesame user=y").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("opensesame")));
}

TEST_F(PostgresConnectionTest, ValuesComeBackAsTheyWere) {
  auto connection = Open();
  const std::string text = "it's \"quoted\" \\ {,} ünï";
  const std::string blob("\0\x01\xff'\\", 5);
  PostgresStatement statement(
      "SELECT $1, $2, $3, $4::text, $5::text[] @> ARRAY[$2], $6::bigint[] = ARRAY[-1, 2]::bigint[]");
  statement.Bind(std::numeric_limits<int64_t>::min())
      .Bind(text)
      .BindBlob(blob)
      .Bind(std::string_view())
      .Bind(std::vector<std::string>{"", text})
      .Bind(std::vector<int64_t>{-1, 2});
  for (const bool prepared : {true, true, false}) {
    auto rows = prepared ? connection->Query(statement) : connection->QueryOnce(statement);
    ASSERT_TRUE(rows.ok()) << rows.status();
    ASSERT_EQ(rows->size(), 1);
    EXPECT_EQ(rows->Integer(0, 0), std::numeric_limits<int64_t>::min());
    EXPECT_EQ(rows->Bytes(0, 1), text);
    EXPECT_EQ(rows->Bytes(0, 2), blob);
    EXPECT_EQ(rows->Bytes(0, 3), "");
    EXPECT_EQ(rows->Integer(0, 4), 1);
    EXPECT_EQ(rows->Integer(0, 5), 1);
  }
  EXPECT_EQ(connection->Query(PostgresStatement("SELECT -7"))->Integer(0, 0), -7);
}

TEST_F(PostgresConnectionTest, ATextThatNoColumnHoldsIsRefused) {
  auto connection = Open();
  PostgresStatement statement("SELECT $1");
  EXPECT_EQ(connection->Query(statement.Bind(std::string_view("a\0b", 3))).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(connection->Alive());
}

TEST_F(PostgresConnectionTest, AFailedStatementUndoesItsTransaction) {
  auto connection = Open();
  ASSERT_TRUE(connection->Execute("CREATE TABLE t (x BIGINT PRIMARY KEY)").ok());
  auto insert = [](int64_t x) {
    PostgresStatement statement("INSERT INTO t (x) VALUES ($1)");
    statement.Bind(x).About(absl::StrCat("row ", x));
    return statement;
  };
  for (size_t wrong = 0; wrong < 3; ++wrong) {
    std::vector<PostgresStatement> statements = {insert(1), insert(2), insert(3)};
    statements.insert(statements.begin() + wrong + 1, insert(1));
    const absl::Status status = connection->RunTransaction(statements);
    EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("row 1: "));
    EXPECT_EQ(Ask("SELECT count(*) FROM t"), 0);
  }
  EXPECT_TRUE(connection->RunTransaction({insert(1), insert(2)}).ok());
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), 2);
  EXPECT_TRUE(connection->RunTransaction({}).ok());
}

// An error at COMMIT itself, after every statement went well.
TEST_F(PostgresConnectionTest, AConditionThatIsCheckedAtCommitUndoesIt) {
  auto connection = Open();
  ASSERT_TRUE(connection->Execute("CREATE TABLE t (x BIGINT, UNIQUE (x) DEFERRABLE INITIALLY DEFERRED)").ok());
  const std::vector<PostgresStatement> statements(2, PostgresStatement("INSERT INTO t (x) VALUES (1)"));
  EXPECT_EQ(connection->RunTransaction(statements).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), 0);
  EXPECT_TRUE(connection->RunTransaction({statements[0]}).ok());
}

TEST_F(PostgresConnectionTest, LargeTransactionsDoNotBlock) {
  auto connection = Open();
  ASSERT_TRUE(connection->Execute("CREATE TABLE t (x BYTEA)").ok());
  std::vector<PostgresStatement> statements;
  for (int i = 0; i < 3000; ++i) {
    // Both directions are busy: what comes back is as large as what is sent.
    statements.emplace_back("INSERT INTO t (x) VALUES ($1) RETURNING x").BindBlob(std::string(4000, 'x'));
  }
  EXPECT_TRUE(connection->RunTransaction(statements).ok());
  EXPECT_EQ(Ask("SELECT count(*) FROM t"), 3000);
}

TEST_F(PostgresConnectionTest, CommitsAreOnTheDiskWhateverTheDatabaseSays) {
  Do("ALTER ROLE service SET synchronous_commit = off");
  auto connection = Open();
  Do("ALTER ROLE service RESET synchronous_commit");
  EXPECT_EQ(connection->Query(PostgresStatement("SHOW synchronous_commit"))->Bytes(0, 0), "on");
}

TEST_F(PostgresConnectionTest, NoSessionOutlivesItsServerForLong) {
  auto connection = Open({.reply_timeout = std::chrono::milliseconds(7'000),
                          .lock_timeout = std::chrono::milliseconds(3'000),
                          .idle_timeout = std::chrono::milliseconds(6'000)});
  auto setting = [&](const std::string& name) {
    return std::string(connection->Query(PostgresStatement("SHOW " + name))->Bytes(0, 0));
  };
  EXPECT_EQ(setting("idle_in_transaction_session_timeout"), "4s");
  EXPECT_EQ(setting("idle_session_timeout"), "6s");
  EXPECT_EQ(setting("statement_timeout"), "7s");
  EXPECT_EQ(setting("lock_timeout"), "3s");
  EXPECT_EQ(setting("default_transaction_isolation"), "read committed");
}

TEST_F(PostgresConnectionTest, ASessionThatWasEndedIsNoticed) {
  auto connection = Open();
  EXPECT_TRUE(connection->Alive());
  EndSession(Pid(*connection));
  EXPECT_FALSE(connection->Alive());
  EXPECT_EQ(connection->Execute("SELECT 1").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(connection->Query(PostgresStatement("SELECT 1")).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(connection->RunTransaction({}).code(), absl::StatusCode::kUnavailable) << "nothing was sent";
}

TEST_F(PostgresConnectionTest, AStatementThatTakesTooLongIsUnavailable) {
  auto connection = Open({.reply_timeout = std::chrono::milliseconds(200)});
  EXPECT_EQ(connection->Execute("SELECT pg_sleep(60)").code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(connection->Alive()) << "the server itself has ended the statement";
  EXPECT_TRUE(connection->Execute("SELECT 1").ok());
}

TEST_F(PostgresConnectionTest, AServerThatStandsStillIsUnavailable) {
  auto connection = Open({.reply_timeout = std::chrono::milliseconds(200)});
  const pid_t pid = static_cast<pid_t>(Pid(*connection));
  ASSERT_EQ(::kill(pid, SIGSTOP), 0);
  EXPECT_EQ(connection->Execute("SELECT 1").code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(connection->Alive());
  ASSERT_EQ(::kill(pid, SIGCONT), 0);
}

TEST_F(PostgresConnectionTest, ALockedRowIsUnavailable) {
  Do("CREATE TABLE t (x BIGINT); GRANT ALL ON t TO service; INSERT INTO t VALUES (1)");
  auto connection = Open({.lock_timeout = std::chrono::milliseconds(1)});
  Do("BEGIN; UPDATE t SET x = 2");
  EXPECT_EQ(connection->RunTransaction({PostgresStatement("UPDATE t SET x = 3")}).code(),
            absl::StatusCode::kUnavailable);
  Do("COMMIT");
  EXPECT_TRUE(connection->RunTransaction({PostgresStatement("UPDATE t SET x = 3")}).ok());
}

TEST_F(PostgresConnectionTest, AnIdleSessionEndsWhenItShould) {
  auto connection = Open({.idle_timeout = std::chrono::milliseconds(1)});
  const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (connection->Alive()) ASSERT_LT(std::chrono::steady_clock::now(), patience);
}

}  // namespace
}  // namespace mantissa::server
