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
  // It certainly did not happen, and nothing can be stored until one that does (Note [Read-only]).
  bool read_only = false;
};

struct GroupCommitOptions {
  // Commands taken into one transaction.
  int max_batch = 512;
  // While nothing can be stored, it is tried again this often.
  std::chrono::milliseconds probe_interval{1'000};
  // A store whose newest commit may or may not have happened has to be read again before anything is served; it is
  // given up after this long.
  std::chrono::milliseconds give_up_after{10'000};
  // Told once that it was, on the writer's thread. The process is to end: whoever starts it again finds what is
  // durable.
  std::function<void(const absl::Status&)> on_given_up = nullptr;
  // Told of every transaction, failed ones too, on the writer's thread. Returns quickly.
  std::function<void(const TransactionReport&)> on_transaction = nullptr;
};

// What becomes of a command while nothing can be stored (Note [Read-only]).
enum class WhenReadOnly {
  kRefuse,  // RESOURCE_EXHAUSTED
  kSkip,    // it is as good as done: whoever sent it says the same again, soon
};

// One decision and its reply. `decide` runs on the writer's thread with the scheduler's state; what it appends to
// `changes` is committed with everything else of the batch. `done` runs after the commit with its status: OK means
// durable. A refused request (`decide` learned an error) simply appends nothing and says so in `done`.
struct Command {
  std::function<void(Scheduler&, Moment, Changes&)> decide;
  std::function<void(const absl::Status&)> done;
  WhenReadOnly when_read_only = WhenReadOnly::kRefuse;
};

// A look at the scheduler's state, between two transactions: what it sees is durable. `done` follows at once; not OK
// where there is no state to see, which is being loaded anew.
struct Query {
  std::function<void(const Scheduler&, Moment)> look;
  std::function<void(const absl::Status&)> done;
};

// The one thread that owns the Scheduler and writes the store: takes whatever commands are waiting, lets each decide,
// places jobs, commits once, tells the listeners, then releases the replies. Queries that wait come before a batch and
// again before its replies: a worker that waits for work has its assignment first, for that is what the commit was for.
// Ticks the scheduler at its deadlines.
//
// Note [Read-only]
//
// When a commit fails, what is in memory counts on what is not stored, so the scheduler is loaded anew. What happens
// then depends on what is known. If the transaction certainly did not happen (the disk is full, the database busy), the
// state is good but cannot change: until a probe gets through, writes are refused, reads and watches go on, heartbeats
// are answered with the desired state as it stands, and time stands still, for nothing that it would bring about could
// be written down; after that every live lease gets one full term, as after a start. If the outcome is not known,
// nothing is served before the store has been read again, for it may hold what nobody was told.
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

  // Neither of these blocks. Commands run in the order they came, and so do queries; a query may pass a command.
  void Submit(Command command);
  void Read(Query query);
  // Submits and waits for the outcome of the commit; never from the writer's thread.
  absl::Status Commit(std::function<void(Scheduler&, Moment, Changes&)> decide);
  // Reads and waits until that is done; never from the writer's thread.
  absl::Status Look(std::function<void(const Scheduler&, Moment)> look);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mantissa::server
