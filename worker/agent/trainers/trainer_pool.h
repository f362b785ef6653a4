// One warm trainer per device: started ahead of need, reused where that is safe, replaced where it is not.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <poll.h>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"
#include "process/clock.h"
#include "process/sandbox_level.h"
#include "worker/agent/attempt_key.h"
#include "worker/agent/launch/launcher.h"
#include "worker/agent/trainers/trainer_event.h"
#include "worker/agent/trainers/trainer_session.h"

namespace mantissa::agent {

struct TrainerPoolOptions {
  std::string program;                   // path of mantissa-trainer
  std::vector<std::string> environment;  // all that a trainer gets of it
  int cpu_slots = 1;                     // CPU devices: cpu-0, cpu-1, ...
  int threads = 1;                       // that one attempt on a CPU device may use
  bool probe_cuda = false;               // start a trainer for cuda:0, then cuda:1, ... until one finds no device
  process::SandboxLevel required_sandbox = process::SandboxLevel::kNone;  // a trainer that reaches less is not used
  process::SandboxLevel expected_sandbox = process::SandboxLevel::kNone;  // what is reported before one was bound
  int max_attempts_cpu = 1000;                                            // that one process runs
  int max_attempts_cuda = 20;
  std::chrono::milliseconds hello_timeout{60'000};  // from the start of the process
  std::chrono::milliseconds bind_timeout{60'000};   // from Bind to Bound; it may still be warming up
  std::chrono::milliseconds shutdown_grace{2'000};  // for a trainer that is replaced after a clean end
  std::chrono::milliseconds restart_backoff{200};   // after a trainer that died unasked; doubles, at most 30 s
};

struct PoolCounts {
  std::int64_t started = 0;
  std::int64_t replaced = 0;  // started in the place of another
};

// A device has at most one attempt. A trainer that ended its attempt cleanly serves the next one of the same tenant;
// one that failed, was stopped, or ran its number of attempts is replaced at once. What a trainer sent before it died
// is delivered before AttemptLost. Every public call leaves each device one step nearer to a warm trainer. Not
// thread-safe.
class TrainerPool {
 public:
  // `launcher` must outlive the pool.
  TrainerPool(TrainerPoolOptions options, Launcher& launcher);

  void Start(process::SteadyTime now);

  // NOT_FOUND: there is no such device. FAILED_PRECONDITION: it is busy.
  absl::Status Run(RunOrder order, process::SteadyTime now);

  // Asks the trainer to stop, and kills it when it has not done so within the grace.
  void Stop(const AttemptKey& key, const StopOrder& order, process::SteadyTime now);
  // It declined to stop: nobody waits for that any more.
  void LetGoOn(const AttemptKey& key);
  void Kill(const AttemptKey& key, process::SteadyTime now);

  void Tell(const AttemptKey& key, v1::CheckpointCommitted committed);

  void AppendPollFds(std::vector<pollfd>& fds) const;
  void OnReady(const pollfd& ready, process::SteadyTime now);
  void OnLauncherEvent(LauncherEvent event, process::SteadyTime now);
  void Tick(process::SteadyTime now);
  process::SteadyTime NextDeadline() const;

  // What has happened since the last call, in order.
  std::vector<TrainerEvent> TakeEvents();

  // Those whose trainer has said Hello.
  std::vector<v1::Device> devices() const;
  // Spec features that every trainer understands.
  const std::vector<std::string>& features() const { return features_; }
  const std::string& sandbox_level() const { return sandbox_level_; }
  const PoolCounts& counts() const { return counts_; }

 private:
  struct Trainer {
    Trainer(std::uint64_t id, std::string device_id) : session(id, std::move(device_id)) {}
    TrainerSession session;
    bool retired = false;  // serves nobody any more; its slot may have another
    process::SteadyTime kill_at = process::SteadyTime::max();
  };

  struct Waiting {
    RunOrder order;
    process::SteadyTime deadline;
  };

  // One device.
  struct Slot {
    v1::Device device;  // the id and kind at least
    int ordinal = 0;
    bool known = false;      // some trainer has found the device
    bool announced = false;  // known, and not withdrawn since
    bool had_trainer = false;
    bool gone = false;  // a probe that found no device
    int failures = 0;   // trainers in a row that could not be made ready
    process::SteadyTime start_at = process::SteadyTime::min();
    std::optional<Waiting> waiting;
  };

  void AddSlot(v1::Device::Kind kind, int ordinal);
  Slot* FindSlot(const std::string& device_id);
  Trainer* FindCurrent(const std::string& device_id);
  Trainer* FindRunning(const AttemptKey& key);
  Trainer* FindProcess(std::uint64_t id);

  // Moves every slot and trainer as far as it can go without a further event.
  void Settle(process::SteadyTime now);
  void SettleTrainer(Trainer& trainer, process::SteadyTime now);
  void SettleSlot(Slot& slot, process::SteadyTime now);
  void Adopt(Slot& slot, const v1::Hello& hello);
  void AddFeatures(const v1::Hello& hello);
  void StartTrainer(Slot& slot, process::SteadyTime now);
  void Assign(Slot& slot, Trainer& trainer, process::SteadyTime now);

  void Retire(Trainer& trainer, process::SteadyTime now);  // asks it to go
  void Kill(Trainer& trainer);
  void Check(Trainer& trainer, const absl::Status& status, process::SteadyTime now);
  void OnEnded(const ProcessEnded& ended, process::SteadyTime now);
  void NeverWarm(const std::string& device_id, const std::string& why, process::SteadyTime now);
  void LoseWaiting(Slot& slot, ExitReason reason, bool as_asked);

  const TrainerPoolOptions options_;
  Launcher& launcher_;
  std::uint64_t next_id_ = 1;
  std::vector<Slot> slots_;
  std::vector<std::unique_ptr<Trainer>> trainers_;  // per slot at most one that is not retired
  std::vector<TrainerEvent> events_;
  std::vector<std::string> features_;
  bool features_known_ = false;
  std::string sandbox_level_;  // as the newest bound trainer said
  PoolCounts counts_;
};

}  // namespace mantissa::agent
