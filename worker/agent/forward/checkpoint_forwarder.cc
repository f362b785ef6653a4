#include "worker/agent/forward/checkpoint_forwarder.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace mantissa::agent {
namespace {

using process::SteadyTime;

constexpr std::chrono::milliseconds kCallDeadline{10'000};

// Another try may fare better.
bool IsPassing(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status) ||
         absl::IsCancelled(status) || absl::IsUnknown(status) || absl::IsInternal(status);
}

}  // namespace

void CheckpointForwarder::Commit(const v1::AttemptRef& ref, const v1::Checkpoint& checkpoint) {
  Queue& queue = queues_[KeyOf(ref)];
  queue.ref = ref;
  queue.waiting.push_back(checkpoint);
  if (queue.away) GiveUpOlder(KeyOf(ref), queue);
}

// See Note [Uncommitted].
void CheckpointForwarder::GiveUpOlder(const AttemptKey& key, Queue& queue) {
  while (queue.waiting.size() > 2) {
    const auto older = std::next(queue.waiting.begin());
    CommitAnswered given_up{.key = key, .committed = {}, .given_up = true};
    given_up.committed.set_name(older->name());
    given_up.committed.add_deletions(older->path());
    answers_.push_back(std::move(given_up));
    queue.waiting.erase(older);
  }
}

void CheckpointForwarder::Tick(SteadyTime now) {
  for (auto& [key, queue] : queues_) {
    if (queue.call != 0) continue;
    if (std::exchange(queue.failed, false)) queue.next_at = now + queue.backoff.Next();
    if (now < queue.next_at) continue;
    v1::CommitCheckpointRequest request;
    *request.mutable_ref() = queue.ref;
    *request.mutable_checkpoint() = queue.waiting.front();
    queue.call = ++last_call_;
    link_.CommitCheckpoint(request, kCallDeadline, [this, &inbox = inbox_, key = key, call = queue.call](auto answer) {
      inbox.Post([this, key, call, answer = std::move(answer)] { OnAnswer(key, call, answer); });
    });
  }
}

SteadyTime CheckpointForwarder::NextDeadline() const {
  SteadyTime next = SteadyTime::max();
  for (const auto& [key, queue] : queues_) {
    if (queue.call == 0) next = std::min(next, queue.failed ? SteadyTime::min() : queue.next_at);
  }
  return next;
}

std::vector<CommitAnswered> CheckpointForwarder::TakeAnswers() { return std::exchange(answers_, {}); }

void CheckpointForwarder::OnAnswer(const AttemptKey& key, std::uint64_t call,
                                   const absl::StatusOr<v1::CommitCheckpointResponse>& answer) {
  const auto found = queues_.find(key);
  if (found == queues_.end() || found->second.call != call) return;
  Queue& queue = found->second;
  queue.call = 0;
  if (IsPassing(answer.status())) {
    ++counts_.retries;
    queue.failed = queue.away = true;
    return GiveUpOlder(key, queue);
  }
  queue.away = false;
  CommitAnswered done{.key = key, .committed = {}};
  done.committed.set_name(queue.waiting.front().name());
  if (answer.ok()) {
    ++counts_.committed;
    for (const v1::CheckpointDeletion& deletion : answer->deletions()) done.committed.add_deletions(deletion.path());
  } else {
    ++counts_.refused;
    done.committed.set_error(std::string(answer.status().message()));
  }
  answers_.push_back(std::move(done));
  queue.backoff.Reset();
  queue.waiting.pop_front();
  if (queue.waiting.empty()) queues_.erase(found);
}

}  // namespace mantissa::agent
