// What keeps a server that is no longer the active one from writing, and what is said of a commit that was cut.
#include <signal.h>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <libpq-fe.h>

#include "active_store.h"
#include "postgres_fixture.h"
#include "server/store/postgres_migrations.h"
#include "store_samples.h"

namespace mantissa::server {
namespace {

using testing::HasSubstr;

class PostgresFence : public PostgresTest {
 protected:
  void SetUp() override {
    PostgresTest::SetUp();
    if (IsSkipped()) return;
    old_ = std::make_unique<ActiveStore>(database_, clock_);
    // Its statements are prepared now, so that the next commit is nothing but one transaction.
    ASSERT_TRUE(old_->store->Commit(NewJob(1000)).ok());
  }

  // The old server's lock goes, without its knowledge.
  void LoseLock() { EndSession(Ask(absl::StrCat("SELECT ", kHolder))); }
  // Commits on the old server are held up, after they have looked at the epoch, until `Do("COMMIT")`.
  void HoldUpCommits() { Do("BEGIN; LOCK TABLE jobs IN SHARE MODE"); }
  void UntilACommitIsHeldUp() { UntilSomebodyWaitsFor("relation"); }
  std::thread CommitOnOld(int number, absl::Status& status) {
    return std::thread([this, number, &status] { status = old_->store->Commit(NewJob(number)); });
  }
  bool Stored(int number) {
    return Ask(absl::StrCat("SELECT count(*) FROM jobs WHERE id = '", SampleId(number), "'")) == 1;
  }
  // In the middle of COMMIT, after everything else went well, the server waits for `Do("COMMIT")`.
  void HoldUpInsideCommit() {
    Do("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
       "$$ BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NULL; END $$;"
       "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON jobs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
       "EXECUTE FUNCTION wait()");
    Do("BEGIN; SELECT pg_advisory_xact_lock(1)");
  }
  std::unique_ptr<ActiveStore> old_;
};

TEST_F(PostgresFence, AWriteOfAnOldEpochCommitsNothing) {
  ASSERT_TRUE(old_->store->Commit(NewJob(1)).ok());
  LoseLock();
  ActiveStore active(database_, clock_);
  Changes changes = NewJob(2);
  changes.telemetry.push_back(SampleEvent(2, 1));
  const absl::Status status = old_->store->Commit(changes);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("another server has taken over"));
  EXPECT_FALSE(Stored(2));
  EXPECT_TRUE(active.store->Commit(NewJob(2)).ok());
}

// The raise is under way, and not yet seen, when the old server's transaction begins.
TEST_F(PostgresFence, AWriteThatMeetsARaiseWaitsForIt) {
  Do("BEGIN; UPDATE server SET epoch = epoch + 1");
  absl::Status status;
  std::thread commit = CommitOnOld(1, status);
  UntilSomebodyWaitsFor("transactionid");
  Do("COMMIT");
  commit.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_FALSE(Stored(1));
}

TEST_F(PostgresFence, ARaiseThatIsTakenBackHarmsNobody) {
  Do("BEGIN; UPDATE server SET epoch = epoch + 1");
  absl::Status status;
  std::thread commit = CommitOnOld(1, status);
  UntilSomebodyWaitsFor("transactionid");
  Do("ROLLBACK");
  commit.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(Stored(1));
}

// The old server's transaction has looked at the epoch when the raise comes.
TEST_F(PostgresFence, ARaiseWaitsForAWriteThatIsUnderWay) {
  LoseLock();
  ActiveLock lock(database_, {.reply_timeout = std::chrono::seconds(60), .bump_patience = std::chrono::seconds(60)});
  ASSERT_TRUE(lock.Acquire().ok());
  HoldUpCommits();
  absl::Status committed;
  std::thread commit = CommitOnOld(1, committed);
  UntilACommitIsHeldUp();
  absl::StatusOr<int64_t> epoch;
  std::thread raise([&] { epoch = lock.BumpEpoch(); });
  UntilSomebodyWaitsFor("transactionid");
  Do("COMMIT");
  commit.join();
  raise.join();
  EXPECT_TRUE(committed.ok()) << committed;
  ASSERT_TRUE(epoch.ok()) << epoch.status();
  EXPECT_TRUE(Stored(1)) << "it was acknowledged, so whoever loads now finds it";
  EXPECT_EQ(old_->store->Commit(NewJob(2)).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PostgresFence, AWriteThatHangsIsEndedByTheRaise) {
  LoseLock();
  HoldUpCommits();
  absl::Status committed;
  std::thread commit = CommitOnOld(1, committed);
  UntilACommitIsHeldUp();
  ActiveLock lock(database_, {.bump_patience = std::chrono::milliseconds(10)});
  ASSERT_TRUE(lock.Acquire().ok());
  EXPECT_TRUE(lock.BumpEpoch().ok());
  commit.join();
  EXPECT_EQ(committed.code(), absl::StatusCode::kUnavailable) << "certainly rolled back: " << committed;
  Do("COMMIT");
  EXPECT_FALSE(Stored(1));
}

// A server that was stopped while it sent a transaction. PostgreSQL waits for the rest, for ever.
TEST_F(PostgresFence, AWriteThatIsCutInTheMiddleIsEndedByTheRaise) {
  LoseLock();
  PGconn* stopped = ::PQconnectdb(database_.c_str());
  ASSERT_EQ(::PQenterPipelineMode(stopped), 1);
  for (const char* sql : {"BEGIN", "SELECT epoch FROM server FOR SHARE"}) {
    ASSERT_EQ(::PQsendQueryParams(stopped, sql, 0, nullptr, nullptr, nullptr, nullptr, 0), 1);
  }
  ASSERT_EQ(::PQsendFlushRequest(stopped), 1);
  ASSERT_EQ(::PQflush(stopped), 0);
  Until("SELECT count(*) FROM pg_locks WHERE relation = 'server'::regclass AND mode = 'RowShareLock' AND granted");
  ActiveLock lock(database_);
  ASSERT_TRUE(lock.Acquire().ok());
  EXPECT_TRUE(lock.BumpEpoch().ok());
  ::PQfinish(stopped);
}

TEST_F(PostgresFence, SomebodyWhoMayNotBeEndedIsToldOf) {
  Do("BEGIN; SELECT epoch FROM server FOR SHARE");
  LoseLock();
  ActiveLock lock(database_, {.bump_patience = std::chrono::milliseconds(10)});
  ASSERT_TRUE(lock.Acquire().ok());
  const absl::Status status = lock.BumpEpoch().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  Do("COMMIT");
  EXPECT_TRUE(lock.BumpEpoch().ok()) << "the lock is still there";
}

TEST_F(PostgresFence, NothingIsDoneBeforeAnEpochHasBegun) {
  old_.reset();
  ActiveLock lock(database_);
  ASSERT_TRUE(lock.Acquire().ok());
  // As a new database has it: the number that a store without an epoch would compare.
  Do("UPDATE server SET epoch = 0");
  auto store = PostgresStore::Open(database_, lock, clock_);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ((*store)->Commit(NewJob(1)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ((*store)->Load().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(Stored(1));
  ASSERT_TRUE((*store)->BeginEpoch().ok());
  EXPECT_TRUE((*store)->Commit(NewJob(1)).ok());
}

TEST_F(PostgresFence, OnlyTheHolderOpensTheStore) {
  ActiveLock second(database_);
  ASSERT_FALSE(second.TryAcquire().value());
  EXPECT_EQ(PostgresStore::Open(database_, second, clock_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PostgresFence, ASupersededServerDoesNotLoadAgain) {
  EXPECT_TRUE(old_->store->Load().ok());
  LoseLock();
  ActiveStore active(database_, clock_);
  EXPECT_EQ(old_->store->Load().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(old_->store->BeginEpoch().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(active.store->Load().ok());
}

TEST_F(PostgresFence, ACommitThatIsEndedBeforeCOMMITIsUnavailable) {
  const auto epoch = Ask("SELECT epoch FROM server");
  HoldUpCommits();
  absl::Status status;
  std::thread commit = CommitOnOld(1, status);
  UntilACommitIsHeldUp();
  EndSession(PidThatWaitsFor("relation"));
  commit.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  Do("COMMIT");
  EXPECT_FALSE(Stored(1));
  EXPECT_TRUE(old_->store->Commit(NewJob(1)).ok()) << "on a new connection";
  EXPECT_EQ(Ask("SELECT epoch FROM server"), epoch) << "nothing was unknown";
}

TEST_F(PostgresFence, ACommitThatIsEndedInsideCOMMITIsUnknown) {
  const auto epoch = Ask("SELECT epoch FROM server");
  HoldUpInsideCommit();
  absl::Status status;
  std::thread commit = CommitOnOld(1, status);
  UntilSomebodyWaitsFor("advisory");
  EndSession(PidThatWaitsFor("advisory"));
  commit.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnknown) << status;
  Do("COMMIT");
  // The load that must follow begins another epoch: what the lost session may still do comes to nothing.
  ASSERT_TRUE(old_->store->Load().ok());
  EXPECT_EQ(Ask("SELECT epoch FROM server"), epoch + 1);
  EXPECT_TRUE(old_->store->Load().ok());
  EXPECT_EQ(Ask("SELECT epoch FROM server"), epoch + 1) << "once";
  EXPECT_TRUE(old_->store->Commit(NewJob(2)).ok());
}

// Killed without a word: where it was cannot be told, for COMMIT was on its way.
TEST_F(PostgresFence, ACommitWhoseServerDiesIsUnknown) {
  HoldUpCommits();
  absl::Status status;
  std::thread commit = CommitOnOld(1, status);
  UntilACommitIsHeldUp();
  ASSERT_EQ(::kill(static_cast<pid_t>(PidThatWaitsFor("relation")), SIGKILL), 0);
  commit.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnknown) << status;
  UntilRestarted();
  EXPECT_FALSE(old_->store->Load().ok()) << "the lock is lost, too";
  ASSERT_TRUE(old_->lock.Acquire().ok()) << "through the restart";
  ASSERT_TRUE(old_->store->Load().ok());
  EXPECT_TRUE(old_->store->Commit(NewJob(1)).ok());
  EXPECT_TRUE(old_->store->GetJob(SampleId(1), "").ok()) << "readers have come back as well";
}

// Larger than what a socket takes, so not all of it has left when the server dies: COMMIT has not.
TEST_F(PostgresFence, ACommitThatIsCutWhileItIsSentIsUnavailable) {
  HoldUpCommits();
  Changes changes = NewJob(1);
  for (int i = 1; i <= 3; ++i) {
    changes.telemetry.push_back(SampleEvent(1, i));
    changes.telemetry.back().segment.mutable_event()->set_message(std::string(200'000, 'x'));
  }
  absl::Status status;
  std::thread commit([&] { status = old_->store->Commit(changes); });
  UntilACommitIsHeldUp();
  ASSERT_EQ(::kill(static_cast<pid_t>(PidThatWaitsFor("relation")), SIGKILL), 0);
  commit.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  UntilRestarted();
}

TEST_F(PostgresFence, AnUnknownCommitIsNotLoadedWithoutTheLock) {
  const auto epoch = Ask("SELECT epoch FROM server");
  HoldUpInsideCommit();
  absl::Status status;
  std::thread commit = CommitOnOld(1, status);
  UntilSomebodyWaitsFor("advisory");
  EndSession(PidThatWaitsFor("advisory"));
  commit.join();
  ASSERT_EQ(status.code(), absl::StatusCode::kUnknown) << status;
  Do("COMMIT");
  LoseLock();
  EXPECT_FALSE(old_->store->Load().ok());
  EXPECT_EQ(Ask("SELECT epoch FROM server"), epoch);
}

TEST_F(PostgresFence, AConnectionThatWasLostWhileIdleIsOpenedAnew) {
  ASSERT_TRUE(old_->store->Commit(NewJob(1)).ok());
  ASSERT_TRUE(old_->store->GetJob(SampleId(1), "").ok());
  Do(absl::StrCat(
      "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() AND "
      "usename = 'service' AND pid <> ",
      kHolder));
  EXPECT_TRUE(old_->store->Commit(NewJob(2)).ok());
  EXPECT_TRUE(old_->store->GetJob(SampleId(2), "").ok());
  EXPECT_TRUE(old_->store->SchemaVersion().ok());
}

TEST_F(PostgresFence, AFullDiskIsSaidToBeFull) {
  Do("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
     "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;"
     "CREATE TRIGGER full_disk BEFORE INSERT ON telemetry EXECUTE FUNCTION full_disk()");
  Changes changes = NewJob(1);
  changes.telemetry.push_back(SampleEvent(1, 1));
  EXPECT_EQ(old_->store->Commit(changes).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(Stored(1));
  Do("DROP TRIGGER full_disk ON telemetry");
  EXPECT_TRUE(old_->store->Commit(changes).ok());
}

// The new server is of a newer version and changes the schema before it begins its epoch.
TEST_F(PostgresFence, AMigrationEndsTheEpochOfTheOlderServer) {
  std::vector<Migration> newer = PostgresMigrations();
  newer.push_back({static_cast<int32_t>(newer.size()) + 1, "next", "hash", "ALTER TABLE jobs ADD COLUMN x BIGINT"});
  ASSERT_TRUE(Migrate(*PostgresConnection::Open(database_).value(), newer).ok());
  EXPECT_EQ(old_->store->Commit(NewJob(1)).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace mantissa::server
