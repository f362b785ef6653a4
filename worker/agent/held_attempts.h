// Every attempt this worker holds: from its assignment until the server says that its end is recorded.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "mantissa/v1/trainer_frame.pb.h"
#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/trainers/exit_reason.h"

namespace mantissa::agent {

// Why the agent has asked a trainer to stop. A stronger reason replaces a weaker one, never the other way.
enum class StopCause {
  kNone,
  kMoveOn,     // the server wants the attempt elsewhere, or later: with a checkpoint, or not at all
  kCutOff,     // the server could not be reached for too long: with a checkpoint where it can be had
  kLeave,      // this worker is stopping: with a checkpoint where it can be had
  kCancel,     // the job was cancelled
  kAbandoned,  // the server no longer knows the attempt: nobody wants to hear of it
};

struct HeldAttempt {
  // kStarting --started--> kRunning --ended or lost--> kEnding --last commit answered--> kEnded
  //        \______________________________________________^
  // The trainer makes the first two moves, CheckpointForwarder's answers the last. The end is told to the server only
  // in kEnded: it takes checkpoints of live attempts only.
  enum class Stage { kStarting, kRunning, kEnding, kEnded };

  v1::AttemptRef ref;
  v1::Assignment assignment;
  Stage stage = Stage::kStarting;
  StopCause stop = StopCause::kNone;
  std::int32_t iteration = 0;
  std::int32_t step = 0;
  std::optional<v1::PrecisionStats> precision;  // as the trainer said last
  std::string last_checkpoint;
  std::int64_t last_attempt_sequence = 0;                         // as received
  int open_commits = 0;                                           // checkpoints saved and not yet answered for
  std::int32_t declined_stops = 0;                                // for want of a checkpoint
  process::SteadyTime move_on_from = process::SteadyTime::min();  // not asked again before

  // From kEnding on.
  process::SteadyTime ended_at;
  v1::Attempt::State end_state = v1::Attempt::STATE_UNSPECIFIED;
  ExitReason end_reason;
  v1::JobResult result;
  std::optional<v1::Intervention> intervention;  // that its trainer ended it with
  std::vector<v1::Artifact> artifacts;
  std::vector<std::string> artifact_paths;  // relative to the root `checkpoints`, in the same order
  std::optional<v1::Report> report;         // of a study

  // Its trainer is no longer at work.
  bool over() const { return stage == Stage::kEnding || stage == Stage::kEnded; }
};

// The table and its legal moves; calls for attempts it does not hold change nothing. Not thread-safe.
class HeldAttempts {
 public:
  using Map = std::map<AttemptKey, HeldAttempt>;

  const Map& all() const { return attempts_; }
  const HeldAttempt* Find(const AttemptKey& key) const;
  bool empty() const { return attempts_.empty(); }
  // Those whose trainer may still be at work.
  bool AnyLive() const;

  void Add(const v1::AttemptRef& ref, const v1::Assignment& assignment);
  // False when a cause at least as strong is there already, or the attempt is over; and for a while after the trainer
  // declined to move on.
  bool RequestStop(const AttemptKey& key, StopCause cause, process::SteadyTime now);

  // Each returns true when the server should hear of it at once.
  bool Started(const AttemptKey& key);
  bool Ended(const AttemptKey& key, const v1::AttemptEnded& ended, process::SteadyTime now);
  bool Lost(const AttemptKey& key, const ExitReason& reason, bool as_asked, process::SteadyTime now);
  bool CommitAnswered(const AttemptKey& key);
  // It goes on; a cause stronger than kMoveOn stands.
  bool StopDeclined(const AttemptKey& key, process::SteadyTime now);

  void Progressed(const AttemptKey& key, std::int32_t iteration, std::int32_t step);
  void Heard(const AttemptKey& key, const v1::TrainerHeartbeat& heartbeat);
  void Received(const AttemptKey& key, std::int64_t attempt_sequence);
  void CheckpointSaved(const AttemptKey& key, const std::string& name);

  void Forget(const AttemptKey& key) { attempts_.erase(key); }

  // What SynchronizeRequest says of them. A message has room for so many bytes of studies' reports: an end whose report
  // has to wait is not told yet, and is as soon as the server has recorded those before it.
  std::vector<v1::AttemptReport> Reports() const;

 private:
  HeldAttempt* FindLive(const AttemptKey& key);
  bool Over(HeldAttempt& attempt);

  Map attempts_;
};

}  // namespace mantissa::agent
