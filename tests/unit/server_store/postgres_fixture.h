// What tests on PostgreSQL begin with: a database of their own, and somebody who watches from outside.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "server/store/postgres.h"
#include "tests/support/postgres_server.h"

namespace mantissa::server {

class PostgresTest : public testing::Test {
 protected:
  void SetUp() override {
    MANTISSA_NEEDS_POSTGRES();
    tests::PostgresServer& server = tests::PostgresServer::Get();
    database_ = server.NewDatabase();
    admin_ = PostgresConnection::Open(server.AsAdmin(database_)).value();
    watcher_ = PostgresConnection::Open(server.AsAdmin(database_)).value();
    Do("SET idle_in_transaction_session_timeout = 0");
  }

  // As the superuser; may leave a transaction open.
  void Do(const std::string& sql) {
    absl::Status status = admin_->Execute(sql);
    ASSERT_TRUE(status.ok()) << status;
  }
  // On another connection.
  int64_t Ask(const std::string& sql) {
    auto rows = watcher_->QueryOnce(PostgresStatement(sql));
    EXPECT_TRUE(rows.ok() && rows->size() == 1) << rows.status();
    return rows.ok() && rows->size() == 1 ? rows->Integer(0, 0) : -1;
  }
  // Asks until a query counts something.
  void Until(const std::string& sql) {
    const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (!HasFailure() && Ask(sql) == 0) {
      ASSERT_LT(std::chrono::steady_clock::now(), patience) << sql;
    }
  }
  // Sessions of this database that wait for a lock of that type.
  void UntilSomebodyWaitsFor(const std::string& type) {
    Until(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND "
        "wait_event = '" +
        type + "'");
  }
  // The one that waits for a lock of that type.
  int64_t PidThatWaitsFor(const std::string& type) {
    return Ask(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND "
        "wait_event = '" +
        type + "'");
  }
  // A session was killed: PostgreSQL ends all others, recovers, and only then takes new ones.
  void UntilRestarted() {
    const auto patience = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (watcher_->QueryOnce(PostgresStatement("SELECT 1")).ok()) {
      ASSERT_LT(std::chrono::steady_clock::now(), patience) << "it goes on as if nothing had happened";
    }
    for (bool back = false; !back;) {
      ASSERT_LT(std::chrono::steady_clock::now(), patience) << "it does not come back";
      auto opened = PostgresConnection::Open(tests::PostgresServer::Get().AsAdmin(database_));
      back = opened.ok();
      if (back) watcher_ = *std::move(opened);
    }
  }
  // And waits until it is gone.
  void EndSession(int64_t pid) { EXPECT_EQ(Ask(absl::StrCat("SELECT pg_terminate_backend(", pid, ", 60000)")), 1); }

  process::FakeClock clock_;
  std::string database_;
  std::unique_ptr<PostgresConnection> admin_;
  std::unique_ptr<PostgresConnection> watcher_;
};

}  // namespace mantissa::server
