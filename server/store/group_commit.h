#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/status.h"

#include "process/clock.h"
#include "server/core/changes.h"
#include "server/core/scheduler.h"
#include "server/store/job_store.h"

namespace mantissa::server {

// Learns of what became durable, in commit order, on the writer's thread, before the replies of that commit leave.
// Returns quickly and calls nothing that waits.
class CommitListener {
 public:
  virtual ~CommitListener() = default;
  virtual void OnCommitted(const Changes& changes) = 0;
};

// How one transaction went.
struct TransactionReport {
  absl::Status status;
  int64_t commands = 0;  // that shared it
  std::chrono::nanoseconds took{0};
};

struct GroupCommitOptions {
  // Commands taken into one transaction.
  int max_batch = 512;
  // Told of every transaction, failed ones too, on the writer's thread. Returns quickly.
  std::function<void(const TransactionReport&)> on_transaction = nullptr;
};

// One decision and its reply. `decide` runs on the writer's thread with the scheduler's state; what it appends to
// `changes` is committed with everything else of the batch. `done` runs after the commit with its status: OK means
// durable. A refused request (`decide` learned an error) simply appends nothing and says so in `done`.
struct Command {
  std::function<void(Scheduler&, Moment, Changes&)> decide;
  std::function<void(const absl::Status&)> done;
};

// The one thread that owns the Scheduler and writes the store: takes whatever commands are waiting, lets each decide,
// places jobs, commits once, tells the listeners, then releases the replies. Ticks the scheduler at its deadlines.
// After a failed commit every waiting reply gets UNAVAILABLE and the scheduler is loaded anew from the store.
//
// Thread-safe. Stop (or the destructor) answers what still waits with UNAVAILABLE.
class GroupCommit {
 public:
  // `make_scheduler` makes an empty one. Listeners outlive this object.
  GroupCommit(JobStore& store, std::function<std::unique_ptr<Scheduler>()> make_scheduler, const process::Clock& clock,
              std::vector<CommitListener*> listeners, GroupCommitOptions options = {});
  ~GroupCommit();

  // Loads the scheduler and starts the thread.
  absl::Status Start();
  void Stop();

  // Never blocks. Commands run in the order they came.
  void Submit(Command command);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mantissa::server
