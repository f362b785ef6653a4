#include "server/store/sqlite_store.h"

#include <atomic>
#include <fstream>
#include <sqlite3.h>
#include <sys/stat.h>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "process/fake_clock.h"
#include "store_samples.h"
#include "temp_folder.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

class SqliteStoreTest : public testing::Test {
 protected:
  std::unique_ptr<SqliteStore> Open(SqliteStoreOptions options = {}) {
    auto store = SqliteStore::Open(folder_ / "jobs.db", clock_, options);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? std::move(*store) : nullptr;
  }

  TempFolder folder_;
  process::FakeClock clock_;
};

TEST_F(SqliteStoreTest, WhatIsCommittedIsThereAfterReopening) {
  {
    auto store = Open();
    ASSERT_TRUE(store->Commit(NewJob(1)).ok());
    EXPECT_EQ(store->BeginEpoch().value(), 1);
  }
  auto store = Open();
  EXPECT_TRUE(store->GetJob(SampleId(1), "").ok());
  EXPECT_EQ(store->BeginEpoch().value(), 2);
}

TEST_F(SqliteStoreTest, ASecondServerIsKeptOut) {
  auto store = Open();
  absl::Status second = SqliteStore::Open(folder_ / "jobs.db", clock_).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()), HasSubstr("another server"));
}

TEST_F(SqliteStoreTest, TheFileIsForItsOwnerOnly) {
  auto store = Open();
  struct stat status {};
  ASSERT_EQ(::stat((folder_ / "jobs.db").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
}

TEST_F(SqliteStoreTest, ANewerSchemaIsRefused) {
  Open();
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ / "jobs.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "INSERT INTO schema_migrations VALUES (9999, '9999_future', 'x')", nullptr, nullptr,
                         nullptr),
            SQLITE_OK);
  sqlite3_close(database);
  absl::Status status = SqliteStore::Open(folder_ / "jobs.db", clock_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("9999"));
}

TEST_F(SqliteStoreTest, AFileThatIsNoDatabaseIsRefused) {
  std::ofstream(folder_ / "jobs.db") << std::string(5000, 'x');
  EXPECT_EQ(SqliteStore::Open(folder_ / "jobs.db", clock_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(SqliteStoreTest, AFolderThatIsNotThereIsRefused) {
  EXPECT_EQ(SqliteStore::Open(folder_ / "nowhere/jobs.db", clock_).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SqliteStoreTest, NetworkFilesystemsAreKnown) {
  for (int64_t type :
       {0x6969L, 0xff534d42L, 0xfe534d42L, 0x01021997L, static_cast<long>(static_cast<int32_t>(0xff534d42))}) {
    EXPECT_TRUE(IsNetworkFilesystem(type)) << type;
  }
  for (int64_t type : {0xef53L /* ext4 */, 0x01021994L /* tmpfs */, 0x9123683eL /* btrfs */, 0x58465342L /* xfs */,
                       0x794c7630L /* overlay */}) {
    EXPECT_FALSE(IsNetworkFilesystem(type)) << type;
  }
}

TEST_F(SqliteStoreTest, OldRequestsAreForgottenAndYoungOnesKept) {
  auto store = Open();
  auto submit = [&](int number) {
    Changes changes = NewJob(number);
    changes.idempotency.push_back({"default", absl::StrCat("r-", number), "text", {SampleId(number)}});
    ASSERT_TRUE(store->Commit(changes).ok());
  };
  submit(1);
  clock_.Advance(std::chrono::hours(25));
  submit(2);
  EXPECT_TRUE(store->FindIdempotency("default", "r-1")->has_value()) << "a day is promised";
  clock_.Advance(std::chrono::hours(24));
  submit(3);
  EXPECT_FALSE(store->FindIdempotency("default", "r-1")->has_value());
  EXPECT_TRUE(store->FindIdempotency("default", "r-2")->has_value());
}

TEST_F(SqliteStoreTest, ALockedDatabaseIsUnavailableAndRolledBack) {
  SqliteStoreOptions options;
  options.busy_timeout = std::chrono::milliseconds(1);
  auto store = Open(options);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ / "jobs.db").c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(store->Commit(NewJob(1)).code(), absl::StatusCode::kUnavailable);
  ASSERT_EQ(sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(other);
  EXPECT_TRUE(store->Commit(NewJob(1)).ok());
}

TEST_F(SqliteStoreTest, ErrorsAreTold) {
  EXPECT_EQ(SqliteError(SQLITE_FULL, "x").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(SqliteError(SQLITE_BUSY_SNAPSHOT, "x").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(SqliteError(SQLITE_CONSTRAINT_FOREIGNKEY, "x").code(), absl::StatusCode::kAborted);
  EXPECT_EQ(SqliteError(SQLITE_IOERR_FSYNC, "x").code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(SqliteError(SQLITE_CORRUPT, "x").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(SqliteError(SQLITE_MISUSE, "x").code(), absl::StatusCode::kInternal);
}

TEST_F(SqliteStoreTest, HostileTextIsData) {
  auto store = Open();
  ASSERT_TRUE(store->Commit(NewJob(1)).ok());
  const std::string hostile = "x' OR '1'='1";
  EXPECT_EQ(store->GetJob(hostile, "").status().code(), absl::StatusCode::kNotFound);
  v1::JobFilter filter;
  filter.set_name(hostile);
  EXPECT_TRUE(store->ListJobs(hostile, filter, hostile, 10)->jobs.empty());
  EXPECT_FALSE(store->FindIdempotency(hostile, std::string("\0", 1))->has_value());
}

TEST_F(SqliteStoreTest, ManyDifferentFiltersAreForgottenAgain) {
  auto connection = SqliteConnection::Open(folder_ / "any.db", SqliteConnection::Mode::kReadWriteCreate).value();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(connection->Prepare("SELECT " + std::to_string(i))->Step().ok());
  connection->ForgetStatements(/*beyond=*/10);
  EXPECT_EQ(connection->statements(), 10u);
  connection->ForgetStatements(/*beyond=*/9);
  EXPECT_EQ(connection->statements(), 0u);
  EXPECT_TRUE(connection->Prepare("SELECT 1")->Step().value());

  SqliteStoreOptions options;
  options.read_connections = 1;
  options.kept_statements = 4;
  auto store = Open(options);
  ASSERT_TRUE(store->Commit(NewJob(1)).ok());
  v1::JobFilter filter;
  for (int i = 0; i < 20; ++i) {
    filter.add_states(v1::Job::QUEUED);
    EXPECT_EQ(store->ListJobs("", filter, "", 10)->jobs.size(), 1u);
  }
}

TEST_F(SqliteStoreTest, LargePagesEndEarly) {
  auto store = Open();
  for (int i = 1; i <= 20; ++i) {
    v1::Job job = SampleJob(i);
    job.mutable_spec()->mutable_training()->mutable_data()->mutable_train()->mutable_text()->add_files(
        std::string(200'000, 'x'));
    Changes changes;
    PutWhole(changes, job, "", {});
    ASSERT_TRUE(store->Commit(changes).ok());
  }
  const JobPage page = store->ListJobs("", {}, "", 1000).value();
  EXPECT_TRUE(page.more);
  EXPECT_LT(page.jobs.size(), 15u);
  EXPECT_GT(page.jobs.size(), 5u);
}

// Readers see whole transactions, while the writer goes on, from any thread.
TEST_F(SqliteStoreTest, ReadsSeeWholeTransactions) {
  SqliteStoreOptions options;
  options.read_connections = 2;
  auto store = Open(options);
  ASSERT_TRUE(store->Commit(NewJob(1)).ok());
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const TelemetryPage page = store->ReadTelemetry(SampleId(1), 1, 1 << 20).value();
        EXPECT_EQ(page.last_sequence % 4, 0);
        int64_t next = 1;
        for (const v1::Segment& segment : page.segments) {
          EXPECT_EQ(segment.first_sequence(), next);
          next += segment.count();
        }
        EXPECT_EQ(next - 1, page.last_sequence);
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    Changes changes;
    changes.telemetry = {SampleRecords(1, 4 * i + 1, 2, 1, 3 * i + 1), SampleEvent(1, 4 * i + 3),
                         SampleRecords(1, 4 * i + 4, 1, 1, 3 * i + 3)};
    ASSERT_TRUE(store->Commit(changes).ok());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace mantissa::server
