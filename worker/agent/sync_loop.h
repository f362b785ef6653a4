// When to call Synchronize, and which answers count.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"

#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "worker/agent/backoff.h"

namespace mantissa::agent {

struct SyncOptions {
  std::chrono::milliseconds first_hang{5'000};       // asked for until the server has said its own interval
  std::chrono::milliseconds deadline_margin{3'000};  // beyond the hang
  std::chrono::milliseconds backoff_first{200};      // between calls that fail
  std::chrono::milliseconds backoff_most{1'000};
  std::chrono::milliseconds shortest_interval{100};  // between calls when the server answers at once with nothing new
};

// Note [Which answer counts]
// Every call carries the worker's whole present state and a number. When something changes here, a new call goes out at
// once while the old one may still hang; the server ends the old one without state. Here only the answer to the newest
// call counts, and none from a server whose epoch is lower than one already heard: an older answer was made without
// knowing what the newer report says, and would, for example, stop an attempt that the newer report is the first to
// name.
//
// Pure: it is told what happened and when, and says what to do; whoever owns it makes the calls. Not thread-safe.
class SyncLoop {
 public:
  struct Call {
    std::int64_t number = 0;
    std::int64_t applied_revision = 0;
    std::chrono::milliseconds hang{0};
    std::chrono::milliseconds deadline{0};
    bool fresh_channel = false;  // two calls in a row were not answered in time: the connection may be dead
  };

  explicit SyncLoop(SyncOptions options);

  // Something has changed that the server should know at once.
  void Changed() { changed_ = true; }

  // The call to make now, if any. It is the newest from here on. `carried_out`: all that the newest answer asked for is
  // done; without it the call says that the revision of that answer is not applied yet.
  std::optional<Call> Next(bool carried_out, process::SteadyTime now);

  // Whether the answer counts; then it must be applied before Next is called again.
  bool Answered(const v1::SynchronizeResponse& response, process::SteadyTime now);
  void Failed(std::int64_t number, const absl::Status& status, process::SteadyTime now);

  process::SteadyTime NextDeadline() const;

  bool connected() const { return connected_; }
  // When the newest answer came; the start until then.
  process::SteadyTime last_answer() const { return last_answer_; }
  // How long the server leases every attempt from the arrival of a report, as it said last; 0 before it has.
  std::chrono::milliseconds lease() const { return lease_; }
  // When the newest call that was answered went out: the lease began then or later, whatever the answer took.
  process::SteadyTime leased_from() const { return leased_from_; }
  // Every report up to this one has been answered, or was replaced by one that has.
  std::int64_t answered_number() const { return answered_number_; }
  std::int64_t newest_number() const { return number_; }

 private:
  const SyncOptions options_;
  std::chrono::milliseconds hang_;
  Backoff backoff_;
  std::int64_t number_ = 0;
  std::int64_t answered_number_ = 0;
  std::int64_t epoch_ = 0;
  std::int64_t seen_revision_ = 0;  // 0 after a call failed: a new server may count from the beginning
  std::int64_t applied_revision_ = 0;
  bool changed_ = true;
  bool in_flight_ = false;
  bool connected_ = false;
  int missed_deadlines_ = 0;  // in a row
  process::SteadyTime sent_at_ = process::SteadyTime::min();
  process::SteadyTime next_at_ = process::SteadyTime::min();  // of a call that nothing has asked for
  process::SteadyTime last_answer_ = process::SteadyTime::min();
  std::chrono::milliseconds lease_{0};
  process::SteadyTime leased_from_ = process::SteadyTime::min();
};

}  // namespace mantissa::agent
