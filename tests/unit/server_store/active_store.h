#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "gtest/gtest.h"

#include "process/clock.h"
#include "server/store/active_lock.h"
#include "server/store/postgres_store.h"

namespace mantissa::server {

// A server as far as its store goes: the lock, the store under it, an epoch begun. It need not ping.
struct ActiveStore {
  ActiveStore(const std::string& database, const process::Clock& clock, PostgresStoreOptions options = {},
              ActiveLockOptions lock_options = {.idle_timeout = std::chrono::minutes(10)})
      : lock(database, lock_options) {
    absl::Status status = lock.Acquire();
    if (status.ok()) {
      auto opened = PostgresStore::Open(database, lock, clock, options);
      if (opened.ok()) store = *std::move(opened);
      status = opened.ok() ? store->BeginEpoch().status() : opened.status();
    }
    EXPECT_TRUE(status.ok()) << status;
  }

  ActiveLock lock;
  std::unique_ptr<PostgresStore> store;
};

// Session of the ActiveLock that is held in the database of the asker.
inline constexpr char kHolder[] =
    "(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = 1296979027 AND granted AND "
    "database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

}  // namespace mantissa::server
