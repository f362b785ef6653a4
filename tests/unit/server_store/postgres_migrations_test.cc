#include "server/store/postgres_migrations.h"

#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "postgres_fixture.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

class PostgresMigrationsTest : public PostgresTest {
 protected:
  void SetUp() override {
    PostgresTest::SetUp();
    if (!IsSkipped()) connection_ = PostgresConnection::Open(database_).value();
  }

  std::unique_ptr<PostgresConnection> connection_;
};

const std::vector<Migration> kTwo = {
    {1, "0001_a", "hash-1",
     "CREATE TABLE a (x BIGINT); CREATE TABLE server (epoch BIGINT); INSERT INTO server VALUES (7);"},
    {2, "0002_b", "hash-2", "ALTER TABLE a ADD COLUMN y BIGINT;"}};

TEST_F(PostgresMigrationsTest, OursAreNumberedAndHashed) {
  ASSERT_FALSE(PostgresMigrations().empty());
  int32_t next = 1;
  for (const Migration& migration : PostgresMigrations()) {
    EXPECT_EQ(migration.version, next++);
    EXPECT_EQ(migration.sha256.size(), 64u);
    EXPECT_THAT(std::string(migration.sql), HasSubstr("COLLATE \"C\"")) << "texts compare by their bytes";
  }
  EXPECT_TRUE(Migrate(*connection_).ok());
  EXPECT_TRUE(Migrate(*connection_).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), next - 1);
}

TEST_F(PostgresMigrationsTest, RunOnceEachInOrder) {
  ASSERT_TRUE(Migrate(*connection_, {kTwo[0]}).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), 1);
  EXPECT_EQ(Ask("SELECT epoch FROM server"), 7);
  ASSERT_TRUE(Migrate(*connection_, kTwo).ok());
  ASSERT_TRUE(Migrate(*connection_, kTwo).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), 2);
  EXPECT_TRUE(connection_->Execute("INSERT INTO a (x, y) VALUES (1, 2)").ok());
  EXPECT_EQ(Ask("SELECT epoch FROM server"), 8) << "servers of the older schema write no more";
}

TEST_F(PostgresMigrationsTest, ANewerDatabaseIsRefusedUntouched) {
  ASSERT_TRUE(Migrate(*connection_, kTwo).ok());
  absl::Status status = Migrate(*connection_, {kTwo[0]});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("schema 2"));
  EXPECT_EQ(SchemaVersion(*connection_).value(), 2);
}

TEST_F(PostgresMigrationsTest, AnotherHistoryIsRefused) {
  ASSERT_TRUE(Migrate(*connection_, {kTwo[0]}).ok());
  std::vector<Migration> other = kTwo;
  other[0].sha256 = "changed";
  absl::Status status = Migrate(*connection_, other);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0001_a"));
  EXPECT_EQ(SchemaVersion(*connection_).value(), 1);
}

TEST_F(PostgresMigrationsTest, AFailedMigrationLeavesNothing) {
  std::vector<Migration> broken = kTwo;
  broken[1].sql = "CREATE TABLE half (x BIGINT); CREATE TABLE a (x BIGINT);";
  EXPECT_FALSE(Migrate(*connection_, broken).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), 1);
  EXPECT_EQ(Ask("SELECT epoch FROM server"), 7);
  EXPECT_FALSE(connection_->Execute("INSERT INTO half (x) VALUES (1)").ok());
  EXPECT_TRUE(Migrate(*connection_, kTwo).ok());
}

TEST_F(PostgresMigrationsTest, AnotherProgramsDatabaseIsRefused) {
  for (const char* table : {"theirs", "schema_migrations"}) {
    Do(absl::StrCat("CREATE TABLE ", table, " (version TEXT)"));
    absl::Status status = Migrate(*connection_, kTwo);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << table;
    EXPECT_THAT(std::string(status.message()), HasSubstr("another program"));
    Do(absl::StrCat("DROP TABLE ", table));
  }
  EXPECT_TRUE(Migrate(*connection_, kTwo).ok());
}

// A server that lost its lock while it migrated, and the one that got it.
TEST_F(PostgresMigrationsTest, TwoAtOnceMakeOneHistory) {
  ASSERT_TRUE(Migrate(*connection_, {kTwo[0]}).ok());
  Do("BEGIN; INSERT INTO schema_migrations (version, name, sha256) VALUES (2, '0002_b', 'hash-2');"
     "ALTER TABLE a ADD COLUMN y BIGINT");
  absl::Status status;
  std::thread second([&] { status = Migrate(*connection_, kTwo); });
  UntilSomebodyWaitsFor("transactionid");
  Do("COMMIT");
  second.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted) << status;
  EXPECT_TRUE(Migrate(*connection_, kTwo).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), 2);
}

}  // namespace
}  // namespace mantissa::server
