#include "server/store/active_lock.h"

#include <atomic>
#include <signal.h>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "active_store.h"
#include "pooler.h"
#include "postgres_fixture.h"

namespace mantissa::server {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

class ActiveLockTest : public PostgresTest {
 protected:
  static std::chrono::steady_clock::time_point Now() { return std::chrono::steady_clock::now(); }
  void EndSessionOfHolder() { EndSession(Ask(absl::StrCat("SELECT ", kHolder))); }
  void UntilSomebodyStandsBy() {
    Until(
        absl::StrCat("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND "
                     "query LIKE '%pg_try_advisory_lock%' AND pid <> ",
                     kHolder));
  }
};

TEST_F(ActiveLockTest, OneServerAtATimeHasIt) {
  ActiveLock second(database_);
  {
    ActiveLock first(database_);
    EXPECT_FALSE(first.IsFresh());
    ASSERT_TRUE(first.TryAcquire().value());
    EXPECT_TRUE(first.IsFresh());
    EXPECT_TRUE(first.Ping().ok());
    EXPECT_FALSE(second.TryAcquire().value());
    EXPECT_FALSE(second.IsFresh());
    EXPECT_EQ(second.Ping().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_TRUE(second.Acquire().ok());
  EXPECT_TRUE(second.Ping().ok());
}

TEST_F(ActiveLockTest, ASessionThatHasEndedIsSeenWithoutAsking) {
  ActiveLock lock(database_);
  EXPECT_FALSE(lock.SessionOpen());
  ASSERT_TRUE(lock.TryAcquire().value());
  EXPECT_TRUE(lock.SessionOpen());
  EndSessionOfHolder();
  while (lock.SessionOpen()) std::this_thread::yield();
  EXPECT_FALSE(lock.Ping().ok());
  EXPECT_FALSE(lock.IsFresh());
}

TEST_F(ActiveLockTest, AnotherDatabaseIsAnotherLock) {
  ActiveLock first(database_);
  ActiveLock second(tests::PostgresServer::Get().NewDatabase());
  EXPECT_TRUE(first.TryAcquire().value());
  EXPECT_TRUE(second.TryAcquire().value());
}

TEST_F(ActiveLockTest, AnotherSchemaIsAnotherLock) {
  Do("CREATE SCHEMA other AUTHORIZATION service");
  ActiveLock first(database_);
  ActiveLock second(database_ + " options=-csearch_path=other");
  EXPECT_TRUE(first.TryAcquire().value());
  EXPECT_TRUE(second.TryAcquire().value());
  EXPECT_TRUE(second.Ping().ok());
}

TEST_F(ActiveLockTest, AStandbyGetsItWithinFiveSecondsOfTheHoldersEnd) {
  ActiveLock first(database_);
  ASSERT_TRUE(first.Acquire().ok());
  ActiveLock second(database_);
  ASSERT_FALSE(second.TryAcquire().value());
  const auto start = Now();
  EndSessionOfHolder();
  EXPECT_TRUE(second.Acquire().ok());
  EXPECT_LT(Now() - start, std::chrono::seconds(5));
  EXPECT_FALSE(first.Ping().ok());
  EXPECT_FALSE(first.IsFresh());
  EXPECT_EQ(first.Ping().code(), absl::StatusCode::kFailedPrecondition) << "lost is lost";
  EXPECT_FALSE(first.TryAcquire().value()) << "it may stand by";
}

TEST_F(ActiveLockTest, AHolderThatAsksAgainLearnsThatItHasLost) {
  ActiveLock first(database_, {.boot_time = [] { return std::chrono::seconds(1000); }});
  ASSERT_TRUE(first.Acquire().ok());
  EXPECT_TRUE(first.TryAcquire().value()) << "it has it";
  EndSessionOfHolder();
  ActiveLock second(database_);
  ASSERT_TRUE(second.Acquire().ok());
  EXPECT_FALSE(first.TryAcquire().value());
  EXPECT_FALSE(first.IsFresh());
}

// A holder that is stopped, or cut off: its session is there, and silent.
TEST_F(ActiveLockTest, AStandbyGetsItWithinFiveSecondsOfTheHoldersSilence) {
  ActiveLock first(database_);
  ASSERT_TRUE(first.Acquire().ok());
  ActiveLock second(database_);
  ASSERT_TRUE(first.Ping().ok());
  const auto start = Now();
  ASSERT_TRUE(second.Acquire().ok());
  EXPECT_FALSE(first.IsFresh()) << "it must have stopped before another began";
  EXPECT_LT(Now() - start, std::chrono::seconds(5));
  EXPECT_FALSE(first.Ping().ok()) << "woken, it learns that it has lost";
}

TEST_F(ActiveLockTest, PingsKeepIt) {
  ActiveLock first(database_, {.idle_timeout = milliseconds(400)});
  ASSERT_TRUE(first.Acquire().ok());
  ActiveLock second(database_);
  for (const auto end = Now() + milliseconds(1'200); Now() < end;) {
    ASSERT_TRUE(first.Ping().ok());
    ASSERT_FALSE(second.TryAcquire().value());
  }
}

TEST_F(ActiveLockTest, ItIsFreshForThreeSecondsOfTheBootClock) {
  std::atomic<int> now_ms = 1'000'000;
  ActiveLock lock(database_, {.boot_time = [&] { return milliseconds(now_ms); }});
  EXPECT_FALSE(lock.IsFresh());
  ASSERT_TRUE(lock.Acquire().ok());
  now_ms += 2'999;
  EXPECT_TRUE(lock.IsFresh());
  now_ms += 1;
  EXPECT_FALSE(lock.IsFresh());
  ASSERT_TRUE(lock.Ping().ok());
  EXPECT_TRUE(lock.IsFresh());
}

TEST_F(ActiveLockTest, FreshnessCountsFromWhenThePingLeft) {
  // PostgreSQL takes three seconds for its answer to what leaves at second 0.
  int looks = 0;
  ActiveLock lock(database_, {.boot_time = [&] { return std::chrono::seconds(looks++ == 0 ? 1000 : 1003); }});
  ASSERT_TRUE(lock.Acquire().ok());
  EXPECT_FALSE(lock.IsFresh());
  looks = 0;
  ASSERT_TRUE(lock.Ping().ok());
  EXPECT_FALSE(lock.IsFresh());
}

TEST_F(ActiveLockTest, ToBeginAnEpochIsAsGoodAsAPing) {
  std::atomic<int> now_ms = 1'000'000;
  ActiveLock lock(database_, {.boot_time = [&] { return milliseconds(now_ms); }});
  ASSERT_TRUE(lock.Acquire().ok());
  ASSERT_TRUE(PostgresStore::Open(database_, lock, clock_).ok());
  now_ms += 2'999;
  ASSERT_TRUE(lock.BumpEpoch().ok());
  now_ms += 2'999;
  EXPECT_TRUE(lock.IsFresh());
}

TEST(BootTime, GoesOn) {
  const auto before = BootTime();
  EXPECT_GT(before.count(), 0);
  EXPECT_GE(BootTime(), before);
}

TEST_F(ActiveLockTest, APingThatIsNotAnsweredIsALostLock) {
  ActiveLock lock(database_, {.reply_timeout = milliseconds(200)});
  ASSERT_TRUE(lock.Acquire().ok());
  const pid_t holder = static_cast<pid_t>(Ask(absl::StrCat("SELECT ", kHolder)));
  ASSERT_EQ(::kill(holder, SIGSTOP), 0);
  EXPECT_EQ(lock.Ping().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(lock.IsFresh());
  ASSERT_EQ(::kill(holder, SIGCONT), 0);
  EXPECT_TRUE(lock.Acquire().ok()) << "it can be had again, on another session";
}

TEST_F(ActiveLockTest, WaitingCanBeCancelled) {
  ActiveLock first(database_);
  ASSERT_TRUE(first.Acquire().ok());
  ActiveLock second(database_, {.poll_interval = std::chrono::hours(1)});
  absl::Status status;
  std::thread waiter([&] { status = second.Acquire(); });
  UntilSomebodyStandsBy();
  second.Cancel();
  waiter.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(second.Acquire().code(), absl::StatusCode::kCancelled) << "for good";
}

TEST_F(ActiveLockTest, AStandbyOutlivesTheLossOfItsConnection) {
  auto first = std::make_unique<ActiveLock>(database_);
  ASSERT_TRUE(first->Acquire().ok());
  ActiveLock second(database_, {.poll_interval = milliseconds(1)});
  absl::Status status = absl::UnknownError("still waiting");
  std::thread waiter([&] { status = second.Acquire(); });
  // Nobody gets in for a while, not even to try again.
  UntilSomebodyStandsBy();
  Do("ALTER ROLE service NOLOGIN");
  Do(
      absl::StrCat("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = 'service' AND "
                   "datname = current_database() AND pid <> ",
                   kHolder));
  Do("ALTER ROLE service LOGIN");
  first.reset();
  waiter.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ActiveLockTest, AServerThatWasNeverReachedIsToldOfAtOnce) {
  EXPECT_EQ(ActiveLock("host=/nowhere dbname=x user=y").Acquire().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ActiveLockTest, ASchemaIsNeeded) {
  const absl::Status status = ActiveLock(database_ + " options=-csearch_path=nowhere").Acquire();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("search_path"));
}

TEST_F(ActiveLockTest, OnlyTheHolderBeginsAnEpoch) {
  ActiveStore first(database_, clock_);
  const int64_t epoch = Ask("SELECT epoch FROM server");
  ActiveLock second(database_);
  ASSERT_FALSE(second.TryAcquire().value());
  EXPECT_EQ(second.BumpEpoch().status().code(), absl::StatusCode::kFailedPrecondition);
  EndSessionOfHolder();
  EXPECT_EQ(first.lock.BumpEpoch().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(first.lock.BumpEpoch().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Ask("SELECT epoch FROM server"), epoch);
}

TEST_F(ActiveLockTest, APoolerInTransactionModeIsRefused) {
  MANTISSA_NEEDS_PGBOUNCER();
  // It lends out the session that was given back last, or first; and has one, two or three of them.
  for (const char* order : {"0", "1"}) {
    Pooler pooler(database_, absl::StrCat("pool_mode = transaction\nserver_round_robin = ", order, "\n"));
    ActiveLock lock(pooler.database());
    std::vector<std::unique_ptr<PostgresConnection>> clients;
    for (int sessions = 1; sessions <= 3; ++sessions) {
      clients.push_back(PostgresConnection::Open(pooler.database()).value());
      for (auto& client : clients) ASSERT_TRUE(client->Execute("BEGIN").ok());
      for (auto& client : clients) ASSERT_TRUE(client->Execute("COMMIT").ok());
      const absl::Status status = lock.TryAcquire().status();
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << sessions << ": " << status;
      EXPECT_THAT(std::string(status.message()), HasSubstr("pooler"));
      EXPECT_EQ(lock.BumpEpoch().status().code(), absl::StatusCode::kFailedPrecondition);
    }
  }
}

TEST_F(ActiveLockTest, APoolerInSessionModeIsLetPass) {
  MANTISSA_NEEDS_PGBOUNCER();
  Pooler pooler(database_, "pool_mode = session\n");
  ActiveLock first(pooler.database());
  EXPECT_TRUE(first.Acquire().ok());
  EXPECT_TRUE(first.Ping().ok());
  EXPECT_FALSE(ActiveLock(database_).TryAcquire().value());
}

// What cannot be seen at the beginning.
TEST_F(ActiveLockTest, APoolerThatBeginsToMixSessionsIsNoticed) {
  MANTISSA_NEEDS_PGBOUNCER();
  for (const bool bump : {false, true}) {
    Pooler pooler(database_, "pool_mode = session\n");
    ActiveLock lock(pooler.database());
    ASSERT_TRUE(lock.Acquire().ok());
    auto store = PostgresStore::Open(database_, lock, clock_);
    ASSERT_TRUE(store.ok()) << store.status();
    pooler.Change("pool_mode = transaction\n");
    ASSERT_TRUE(lock.Ping().ok()) << "gives the session back";
    auto other = PostgresConnection::Open(pooler.database()).value();
    ASSERT_TRUE(other->Execute("BEGIN").ok());
    ASSERT_EQ(other->QueryOnce(PostgresStatement("SELECT pg_backend_pid()"))->Integer(0, 0),
              Ask(absl::StrCat("SELECT ", kHolder)))
        << "the lock's session is lent to somebody else";
    const absl::Status status = bump ? lock.BumpEpoch().status() : lock.Ping();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_FALSE(lock.IsFresh());
  }
}

}  // namespace
}  // namespace mantissa::server
