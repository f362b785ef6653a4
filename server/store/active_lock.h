// Which of the servers on one PostgreSQL database is the active one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "process/mutex.h"
#include "server/store/postgres.h"

namespace mantissa::server {

// Since the machine was started, time asleep included. A steady clock stands still while a machine is suspended, and
// PostgreSQL's does not.
std::chrono::nanoseconds BootTime();

struct ActiveLockOptions {
  // PostgreSQL ends a session that has said nothing for this long, and with it the lock of a server that is stopped or
  // cut off.
  std::chrono::milliseconds idle_timeout{4'000};
  // A holder whose last ping is older does not act any more. Less than `idle_timeout`, so that it stops before another
  // begins.
  std::chrono::milliseconds fresh_for{3'000};
  // How often a server that waits looks whether the lock is free.
  std::chrono::milliseconds poll_interval{250};
  // A ping that takes longer has failed.
  std::chrono::milliseconds reply_timeout{3'000};
  // How long a new holder lets a transaction of an older one go on before it ends that one's session.
  std::chrono::milliseconds bump_patience{1'000};
  std::function<std::chrono::nanoseconds()> boot_time = BootTime;
};

// A session advisory lock on a connection of its own: PostgreSQL gives it to one session, and takes it back when that
// session ends, for whatever reason. It decides who tries to be active; that no other writes is the work of the epoch
// (Note [Epoch fencing]).
//
// Acquire waits, Ping keeps what was acquired, once a second. When Ping fails the lock is lost, for good: whoever wants
// it again acquires it again, and begins another epoch. Gives up the lock when it goes. Thread-safe; Acquire is called
// by one thread at a time.
class ActiveLock {
 public:
  explicit ActiveLock(std::string conninfo, ActiveLockOptions options = {});
  ~ActiveLock();

  // Waits until the lock is ours, however long, and through restarts of PostgreSQL once this object has reached it.
  // CANCELLED after Cancel. FAILED_PRECONDITION: a pooler that gives each transaction another session, a server older
  // than PostgreSQL 14, no schema to work in. What PostgresConnection::Open says, when PostgreSQL was never reached.
  absl::Status Acquire();
  // One look: whether it is ours now. Errors as Acquire; UNAVAILABLE may be worth another try.
  absl::StatusOr<bool> TryAcquire();
  // Ends an Acquire within a few seconds, and all later ones at once.
  void Cancel();

  // OK: the lock was ours a moment ago. Anything else: it is lost.
  absl::Status Ping();
  // False: the session has ended, and the lock with it, as far as is known here without asking. May be looked at often.
  bool SessionOpen();
  // Whether the lock may be relied on: it is ours, and the last ping that succeeded left less than `fresh_for` ago.
  bool IsFresh() const;

  // Adds one to the stored epoch, on the session that has the lock, and returns the new one. Transactions of older
  // epochs are over then: they are waited for, and ended if they take too long. FAILED_PRECONDITION: the lock is not
  // ours. UNAVAILABLE: the connection was lost; the epoch may have been raised or not.
  absl::StatusOr<int64_t> BumpEpoch();

 private:
  // The session, taken out for one use.
  class Use;

  absl::StatusOr<std::unique_ptr<PostgresConnection>> OpenSession();
  bool Reached() const;
  void SetHeld(std::chrono::nanoseconds since);
  // The session is of no use, and what it held is lost. Returns `why`.
  absl::Status Drop(Use& use, const absl::Status& why);

  const std::string conninfo_;
  const ActiveLockOptions options_;

  mutable process::Mutex mutex_;
  process::CondVar changed_;
  std::unique_ptr<PostgresConnection> session_ ABSL_GUARDED_BY(mutex_);
  bool in_use_ ABSL_GUARDED_BY(mutex_) = false;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool reached_ ABSL_GUARDED_BY(mutex_) = false;                   // PostgreSQL was there, and fit, once
  std::chrono::nanoseconds last_ping_ ABSL_GUARDED_BY(mutex_){0};  // when the last that succeeded was sent
};

}  // namespace mantissa::server
