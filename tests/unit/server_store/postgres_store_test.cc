#include "server/store/postgres_store.h"

#include <atomic>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "active_store.h"
#include "postgres_fixture.h"
#include "server/store/migration_history.h"
#include "store_samples.h"

namespace mantissa::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class PostgresStoreTest : public PostgresTest {
 protected:
  absl::Status WhyNotOpen() {
    ActiveLock lock(database_);
    absl::Status status = lock.Acquire();
    return status.ok() ? PostgresStore::Open(database_, lock, clock_).status() : status;
  }
};

TEST_F(PostgresStoreTest, WhatIsCommittedIsThereAfterReopening) {
  // A new database has one, and a later version of the schema begins another.
  int64_t epoch = static_cast<int64_t>(PostgresMigrations().size()) - 1;
  {
    ActiveStore active(database_, clock_);
    ASSERT_TRUE(active.store->Commit(NewJob(1)).ok());
    EXPECT_EQ(Ask("SELECT epoch FROM server"), ++epoch);
  }
  ActiveStore active(database_, clock_);
  EXPECT_TRUE(active.store->GetJob(SampleId(1), "").ok());
  EXPECT_EQ(Ask("SELECT epoch FROM server"), ++epoch);
}

TEST_F(PostgresStoreTest, ANewerSchemaIsRefused) {
  ASSERT_TRUE(WhyNotOpen().ok());
  Do("INSERT INTO schema_migrations VALUES (9999, '9999_future', 'x')");
  const absl::Status status = WhyNotOpen();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("9999"));
}

TEST_F(PostgresStoreTest, AnotherProgramsDatabaseIsRefused) {
  Do("CREATE TABLE theirs (x BIGINT)");
  EXPECT_EQ(WhyNotOpen().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PostgresStoreTest, ADatabaseThatIsNotInUtf8IsRefused) {
  database_ = tests::PostgresServer::Get().NewDatabase("ENCODING 'LATIN1' TEMPLATE template0");
  const absl::Status status = WhyNotOpen();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("UTF-8"));
}

TEST_F(PostgresStoreTest, OldRequestsAreForgottenAndYoungOnesKept) {
  ActiveStore active(database_, clock_);
  auto submit = [&](int number) {
    Changes changes = NewJob(number);
    changes.idempotency.push_back({"default", absl::StrCat("r-", number), "text", {SampleId(number)}});
    ASSERT_TRUE(active.store->Commit(changes).ok());
  };
  submit(1);
  clock_.Advance(std::chrono::hours(25));
  submit(2);
  EXPECT_TRUE(active.store->FindIdempotency("default", "r-1")->has_value()) << "a day is promised";
  clock_.Advance(std::chrono::hours(24));
  submit(3);
  EXPECT_FALSE(active.store->FindIdempotency("default", "r-1")->has_value());
  EXPECT_TRUE(active.store->FindIdempotency("default", "r-2")->has_value());
}

TEST_F(PostgresStoreTest, ALockedDatabaseIsUnavailableAndRolledBack) {
  ActiveStore active(database_, clock_, {.lock_timeout = std::chrono::milliseconds(1)});
  Do("BEGIN; LOCK TABLE job_labels");
  v1::Job job = SampleJob(1);
  (*job.mutable_labels())["team"] = "vision";
  Changes changes;
  PutWhole(changes, job, "", {});
  EXPECT_EQ(active.store->Commit(changes).code(), absl::StatusCode::kUnavailable);
  Do("COMMIT");
  EXPECT_EQ(active.store->GetJob(job.id(), "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(active.store->Commit(changes).ok());
}

TEST_F(PostgresStoreTest, HostileTextIsData) {
  ActiveStore active(database_, clock_);
  PostgresStore& store = *active.store;
  ASSERT_TRUE(store.Commit(NewJob(1)).ok());
  const std::string hostile = "x' OR '1'='1";
  EXPECT_EQ(store.GetJob(hostile, "").status().code(), absl::StatusCode::kNotFound);
  v1::JobFilter filter;
  filter.set_name(hostile);
  EXPECT_TRUE(store.ListJobs(hostile, filter, hostile, 10)->jobs.empty());
  // No column can hold these, so no row has them.
  EXPECT_FALSE(store.FindIdempotency(hostile, std::string("\0", 1))->has_value());
  EXPECT_EQ(store.GetJob("\xff", "").status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(store.ListJobs("", {}, std::string("\0", 1), 10)->jobs.empty());
  EXPECT_TRUE(store.ReadTelemetry(std::string("\0", 1), 1, 1000)->segments.empty());
}

TEST_F(PostgresStoreTest, LargePagesEndEarly) {
  ActiveStore active(database_, clock_);
  for (int i = 1; i <= 20; ++i) {
    v1::Job job = SampleJob(i);
    job.mutable_spec()->mutable_training()->mutable_data()->mutable_train()->mutable_text()->add_files(
        std::string(200'000, 'x'));
    Changes changes;
    PutWhole(changes, job, "", {});
    ASSERT_TRUE(active.store->Commit(changes).ok());
  }
  const JobPage page = active.store->ListJobs("", {}, "", 1000).value();
  EXPECT_TRUE(page.more);
  EXPECT_LT(page.jobs.size(), 15u);
  EXPECT_GT(page.jobs.size(), 5u);
}

TEST_F(PostgresStoreTest, ALongTelemetryIsReadInParts) {
  ActiveStore active(database_, clock_);
  constexpr int kEvents = 5000;
  Changes changes = NewJob(1);
  for (int i = 1; i <= kEvents; ++i) changes.telemetry.push_back(SampleEvent(1, i));
  ASSERT_TRUE(active.store->Commit(changes).ok());
  int64_t next = 1;
  while (next <= kEvents) {
    const TelemetryPage page = active.store->ReadTelemetry(SampleId(1), next, 1 << 30).value();
    ASSERT_FALSE(page.segments.empty());
    EXPECT_EQ(page.last_sequence, kEvents);
    for (const v1::Segment& segment : page.segments) ASSERT_EQ(segment.first_sequence(), next++);
  }
  EXPECT_EQ(active.store->ReadTelemetry(SampleId(1), 1, 0)->segments.size(), 1u) << "at least one row";
}

// More than are loaded together; jobs that have ended and are loaded for their files lie between the others.
TEST_F(PostgresStoreTest, EveryLiveJobIsLoadedOnce) {
  ActiveStore active(database_, clock_);
  constexpr int kJobs = 700;
  constexpr int kFiles = 10;
  Changes changes;
  std::vector<std::string> expected;
  for (int i = 1; i <= kJobs; ++i) {
    const bool ended = i % 2 == 0;
    PutWhole(changes, SampleJob(i, ended ? v1::Job::SUCCEEDED : v1::Job::RUNNING), "", {});
    changes.attempts.push_back({SampleAttempt(i, 1), std::nullopt});
    for (int file = 0; i % 4 == 0 && file < kFiles; ++file) {
      changes.artifacts.push_back({SampleId(i), 1, {}, ArtifactWrite::Kind::kWanted});
      changes.artifacts.back().artifact.set_name(absl::StrCat(file));
    }
    if (!ended || i % 4 == 0) expected.push_back(SampleId(i));
  }
  ASSERT_TRUE(active.store->Commit(changes).ok());
  const std::vector<LiveJob> live = active.store->Load().value().jobs;
  std::vector<std::string> loaded;
  for (const LiveJob& job : live) {
    loaded.push_back(job.job.id());
    EXPECT_EQ(job.attempts.size(), 1u);
    EXPECT_EQ(job.wanted_artifacts.size(), job.job.state() == v1::Job::SUCCEEDED ? size_t{kFiles} : 0u);
  }
  EXPECT_EQ(loaded, expected);
}

TEST_F(PostgresStoreTest, WhatAnAttemptSaidLastIsFoundBehindTheServersOwnEvents) {
  ActiveStore active(database_, clock_);
  constexpr int kEvents = 40;
  Changes changes = NewJob(1);
  changes.telemetry = {SampleRecords(1, 1, 3, 1, 1)};
  for (int i = 4; i < 4 + kEvents; ++i) changes.telemetry.push_back(SampleEvent(1, i));
  ASSERT_TRUE(active.store->Commit(changes).ok());
  Changes silent = NewJob(2);
  silent.telemetry = {SampleEvent(2, 1)};
  ASSERT_TRUE(active.store->Commit(silent).ok());
  Changes steady = NewJob(3);
  steady.telemetry = {SampleRecords(3, 1, 2, 1, 1), SampleEvent(3, 3), SampleRecords(3, 4, 2, 1, 3)};
  ASSERT_TRUE(active.store->Commit(steady).ok());
  const std::vector<LiveJob> live = active.store->Load().value().jobs;
  ASSERT_EQ(live.size(), 3u);
  EXPECT_EQ(live[0].last_sequence, 3 + kEvents);
  EXPECT_THAT(live[0].durable_attempt_sequences, ElementsAre(std::pair<int32_t, int64_t>(1, 3)));
  EXPECT_EQ(live[1].last_sequence, 1);
  EXPECT_TRUE(live[1].durable_attempt_sequences.empty());
  EXPECT_THAT(live[2].durable_attempt_sequences, ElementsAre(std::pair<int32_t, int64_t>(1, 4))) << "the newest only";
}

TEST_F(PostgresStoreTest, AReadWhoseSessionIsEndedIsRepeatedOnce) {
  ActiveStore active(database_, clock_, {.read_connections = 1});
  ASSERT_TRUE(active.store->Commit(NewJob(1)).ok());
  for (const int ended : {1, 2}) {
    Do("BEGIN; LOCK TABLE jobs");
    absl::Status status;
    std::thread read([&] { status = active.store->GetJob(SampleId(1), "").status(); });
    for (int i = 0; i < ended; ++i) {
      UntilSomebodyWaitsFor("relation");
      EndSession(PidThatWaitsFor("relation"));
    }
    Do("COMMIT");
    read.join();
    EXPECT_EQ(status.code(), ended == 1 ? absl::StatusCode::kOk : absl::StatusCode::kUnavailable) << status;
  }
  EXPECT_TRUE(active.store->GetJob(SampleId(1), "").ok());
}

// Readers see whole transactions, while the writer goes on, from any thread.
TEST_F(PostgresStoreTest, ReadsSeeWholeTransactions) {
  ActiveStore active(database_, clock_, {.read_connections = 2});
  PostgresStore& store = *active.store;
  ASSERT_TRUE(store.Commit(NewJob(1)).ok());
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 4; ++i) {
    readers.emplace_back([&] {
      while (!stop) {
        const TelemetryPage page = store.ReadTelemetry(SampleId(1), 1, 1 << 20).value();
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
    EXPECT_TRUE(store.Commit(changes).ok());
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace mantissa::server
