#include "server/store/migrations.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "temp_folder.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

class MigrationsTest : public testing::Test {
 protected:
  MigrationsTest()
      : connection_(SqliteConnection::Open(folder_ / "x.db", SqliteConnection::Mode::kReadWriteCreate).value()) {}

  TempFolder folder_;
  std::unique_ptr<SqliteConnection> connection_;
};

const std::vector<Migration> kTwo = {{1, "0001_a", "hash-1", "CREATE TABLE a (x INTEGER);"},
                                     {2, "0002_b", "hash-2", "ALTER TABLE a ADD COLUMN y INTEGER;"}};

TEST_F(MigrationsTest, OursAreNumberedAndHashed) {
  ASSERT_FALSE(Migrations().empty());
  int32_t next = 1;
  for (const Migration& migration : Migrations()) {
    EXPECT_EQ(migration.version, next++);
    EXPECT_EQ(migration.sha256.size(), 64u);
    EXPECT_THAT(std::string(migration.sql), HasSubstr("CREATE"));
  }
  EXPECT_TRUE(Migrate(*connection_).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), next - 1);
}

TEST_F(MigrationsTest, RunOnceEachInOrder) {
  ASSERT_TRUE(Migrate(*connection_, {kTwo[0]}).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), 1);
  ASSERT_TRUE(Migrate(*connection_, kTwo).ok());
  ASSERT_TRUE(Migrate(*connection_, kTwo).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), 2);
  EXPECT_TRUE(connection_->Execute("INSERT INTO a (x, y) VALUES (1, 2)").ok());
}

TEST_F(MigrationsTest, ANewerDatabaseIsRefusedUntouched) {
  ASSERT_TRUE(Migrate(*connection_, kTwo).ok());
  absl::Status status = Migrate(*connection_, {kTwo[0]});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("schema 2"));
  EXPECT_EQ(SchemaVersion(*connection_).value(), 2);
}

TEST_F(MigrationsTest, AnotherHistoryIsRefused) {
  ASSERT_TRUE(Migrate(*connection_, {kTwo[0]}).ok());
  std::vector<Migration> other = kTwo;
  other[0].sha256 = "changed";
  absl::Status status = Migrate(*connection_, other);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("0001_a"));
  EXPECT_EQ(SchemaVersion(*connection_).value(), 1);
}

TEST(MigrationHistory, HasNoHoles) {
  EXPECT_TRUE(CheckHistory({}, kTwo).ok());
  EXPECT_TRUE(CheckHistory({{1, "hash-1"}, {2, "hash-2"}}, kTwo).ok());
  EXPECT_EQ(CheckHistory({{2, "hash-1"}}, kTwo).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(MigrationsTest, AFailedMigrationLeavesNothing) {
  std::vector<Migration> broken = kTwo;
  broken[1].sql = "CREATE TABLE half (x INTEGER); CREATE TABLE a (x INTEGER);";
  EXPECT_FALSE(Migrate(*connection_, broken).ok());
  EXPECT_EQ(SchemaVersion(*connection_).value(), 1);
  EXPECT_FALSE(connection_->Execute("INSERT INTO half (x) VALUES (1)").ok());
  EXPECT_TRUE(Migrate(*connection_, kTwo).ok());
}

TEST_F(MigrationsTest, AnotherProgramsDatabaseIsRefused) {
  ASSERT_TRUE(connection_->Execute("CREATE TABLE theirs (x INTEGER)").ok());
  absl::Status status = Migrate(*connection_, kTwo);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another program"));
}

}  // namespace
}  // namespace mantissa::server
