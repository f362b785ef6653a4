// Tells the server of checkpoints on disk until it answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "mantissa/v1/trainer_frame.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/backoff.h"
#include "worker/agent/inbox.h"
#include "worker/agent/link/server_link.h"

namespace mantissa::agent {

struct CommitAnswered {
  AttemptKey key;
  v1::CheckpointCommitted committed;  // for the trainer
  bool given_up = false;              // for a newer one: `committed` has it deleted. See Note [Uncommitted]
};

struct CheckpointCounts {
  std::int64_t committed = 0;
  std::int64_t refused = 0;
  std::int64_t retries = 0;
};

// Note [Uncommitted]
// While the server can't take commits, an attempt that trains on would fill its disk. So two of its checkpoints wait at
// the most: the one that was asked about, which the server may have stored before the answer was lost, so that it is
// not ours to delete, and the newest. What lies between was never told to anyone.

// Commits an attempt's checkpoints one at a time, in the order they were saved. A server that is away, or that can't
// store anything now, is asked again; any other refusal is final, and the checkpoint's files stay. Not thread-safe.
class CheckpointForwarder {
 public:
  // `link` must outlive the forwarder, and `inbox` must not run actions after it.
  CheckpointForwarder(ServerLink& link, Inbox& inbox) : link_(link), inbox_(inbox) {}

  void Commit(const v1::AttemptRef& ref, const v1::Checkpoint& checkpoint);
  // Nobody waits for these any more.
  void Forget(const AttemptKey& key) { queues_.erase(key); }

  void Tick(process::SteadyTime now);
  process::SteadyTime NextDeadline() const;
  std::vector<CommitAnswered> TakeAnswers();

  bool Drained() const { return queues_.empty(); }
  const CheckpointCounts& counts() const { return counts_; }

 private:
  struct Queue {
    v1::AttemptRef ref;
    std::deque<v1::Checkpoint> waiting;  // the first is the one asked about
    std::uint64_t call = 0;              // in flight; 0: none
    bool failed = false;                 // the last call, in a way that is tried again
    bool away = false;                   // nothing has been answered since a call failed so
    Backoff backoff{std::chrono::milliseconds(200), std::chrono::milliseconds(5'000)};
    process::SteadyTime next_at = process::SteadyTime::min();
  };

  void GiveUpOlder(const AttemptKey& key, Queue& queue);
  void OnAnswer(const AttemptKey& key, std::uint64_t call, const absl::StatusOr<v1::CommitCheckpointResponse>& answer);

  ServerLink& link_;
  Inbox& inbox_;
  std::map<AttemptKey, Queue> queues_;
  std::uint64_t last_call_ = 0;
  std::vector<CommitAnswered> answers_;
  CheckpointCounts counts_;
};

}  // namespace mantissa::agent
