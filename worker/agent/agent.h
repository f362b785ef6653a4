// The agent: owns every part of the worker and routes between them.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

#include "mantissa/v1/worker_service.pb.h"
#include "process/clock.h"
#include "process/log.h"
#include "process/roots.h"
#include "worker/agent/desired_state.h"
#include "worker/agent/devices/dcgm_feed.h"
#include "worker/agent/exporters/export_hub.h"
#include "worker/agent/forward/artifact_uploader.h"
#include "worker/agent/forward/checkpoint_deleter.h"
#include "worker/agent/forward/checkpoint_forwarder.h"
#include "worker/agent/forward/log_forwarder.h"
#include "worker/agent/forward/telemetry_forwarder.h"
#include "worker/agent/forward/work_thread.h"
#include "worker/agent/held_attempts.h"
#include "worker/agent/inbox.h"
#include "worker/agent/launch/launcher.h"
#include "worker/agent/link/connection_log.h"
#include "worker/agent/link/server_link.h"
#include "worker/agent/root_space.h"
#include "worker/agent/sync_loop.h"
#include "worker/agent/trainers/trainer_pool.h"
#include "worker/agent/worker_metrics.h"

namespace mantissa::agent {

struct AgentOptions {
  // What every report says of this worker.
  std::string worker_id;
  std::string session_id;  // random, new with every start
  std::string host_name;
  std::string version;
  std::map<std::string, std::string> labels;
  std::vector<v1::Root> roots;                       // name, storage id, writable
  std::vector<v1::BoundRoot> bound_roots;            // the same, whole, as trainers are told of them
  std::chrono::milliseconds space_interval{30'000};  // between looks at how much room the roots have

  std::string server;                                 // for messages
  std::chrono::milliseconds cancel_grace{1'000};      // for a trainer to stop without a checkpoint; then it is killed
  std::chrono::milliseconds leave_grace{28'000};      // for a trainer to write a checkpoint and stop; then it is killed
  std::chrono::milliseconds move_grace{600'000};      // the same where the worker stays and only the attempt goes
  std::chrono::milliseconds drain_grace{30'000};      // for all that and for the server to be told of every end
  std::chrono::milliseconds last_words_grace{5'000};  // from the end of an attempt to its output being stored
  // For attempts whose assignment does not say.
  std::chrono::milliseconds disconnect_grace{600'000};

  // Where dcgm-exporter looks for the job of each GPU; empty: it is not told.
  std::string dcgm_job_mapping_dir;
  // The index that the machine has for the CUDA device with an ordinal; absent where that is not known.
  std::function<std::optional<unsigned>(unsigned)> gpu_index = [](unsigned ordinal) { return ordinal; };

  SyncOptions sync;
  TrainerPoolOptions trainers;
  TelemetryOptions telemetry;
  LogOptions logs;
};

// What the agent leans on; all of it outlives the agent.
struct AgentWorld {
  Launcher& launcher;
  const process::Roots& roots;  // `checkpoints` among them, writable
  ServerLink& link;
  Inbox& inbox;
  const process::Clock& clock;
  WorkerMetrics& metrics;
  ExportHub& exports;
};

// Note [One thread]
// Everything the agent knows is touched by one thread, so nothing of it is locked. What can wait runs elsewhere: gRPC's
// answers, uploads and deletions come back as actions through the inbox. The thread never blocks but in poll(2), so a
// slow server, disk or trainer never keeps it from reading the others.
//
// Not thread-safe, except RequestDrain.
class Agent {
 public:
  Agent(AgentOptions options, AgentWorld world);
  ~Agent();

  void Start();

  // One turn: waits for something to happen, at most `longest`, and deals with it. An error ends the agent: the
  // launcher is dead, and no trainer can be started any more.
  absl::Status Turn(std::chrono::milliseconds longest);

  // When Turn stops waiting by itself; max() for never.
  process::SteadyTime NextDeadline() const;

  // Take no more work; stop what runs, with a checkpoint. From any thread, and harmless twice.
  void RequestDrain();

  // After RequestDrain: everything has been stopped and the server knows all of it, or the grace is over.
  bool Finished() const;
  // Something was left undone when the grace was over.
  bool LeftUndone() const;

  const HeldAttempts& attempts() const { return attempts_; }
  bool connected() const { return sync_.connected(); }
  // The server answered last, and there is a device that it may give work to.
  bool ready() const { return connected() && !trainers_.devices().empty(); }

 private:
  void BeginDrain();
  void Wait(std::chrono::milliseconds longest);
  absl::Status TakeLauncherEvents();
  void Settle();

  // What trainers say.
  void TakeTrainerEvents();
  void OnReported(AttemptReported reported);
  void OnStopDeclined(const AttemptKey& key, const v1::StopDeclined& declined);
  void OnLost(const AttemptLost& lost);
  void OnOver(const AttemptKey& key, bool tell);
  void OnCheckpointSaved(const AttemptKey& key, v1::Checkpoint checkpoint);
  void TakeCommitAnswers();

  // What the server says.
  void Synchronize();
  v1::SynchronizeRequest MakeReport(const SyncLoop::Call& call) const;
  void OnSynchronized(std::int64_t number, const absl::StatusOr<v1::SynchronizeResponse>& answer);
  void Apply(const v1::SynchronizeResponse& response);
  void StartAttempt(const v1::DesiredAttempt& desired);
  // Empty for one that is not held any more.
  std::string TraceOf(const AttemptKey& key) const;
  // A line about an attempt, which it names before the other fields.
  void LogOf(const AttemptKey& key, process::Level level, std::string_view message,
             std::vector<process::LogField> fields = {}) const;
  void StopAttempt(const AttemptKey& key, StopCause cause);
  void Abandon(const AttemptKey& key);
  void Forget(const AttemptKey& key);
  void Upload(const v1::ArtifactRequest& request);

  // See Note [Cut off].
  std::chrono::milliseconds StopGrace(const AttemptKey& key, StopCause cause) const;
  void CheckDisconnectGrace();
  void UpdateMetrics();
  void Count(const v1::JobEvent& event);
  void Count(const HeldAttempt& attempt);

  const AgentOptions options_;
  const AgentWorld world_;
  const process::OpenRoot& checkpoints_;
  const std::string storage_id_;  // of that root
  process::SteadyTime now_;       // of this turn

  HeldAttempts attempts_;
  SyncLoop sync_;
  TrainerPool trainers_;
  TelemetryForwarder telemetry_;
  LogForwarder logs_;
  CheckpointForwarder commits_;
  std::vector<pollfd> ready_;

  bool forget_later_ = false;  // some attempt that the newest answer wants forgotten is still held
  bool draining_ = false;
  std::int64_t drain_report_ = 0;  // the first report that says so
  process::SteadyTime drain_deadline_ = process::SteadyTime::max();

  ConnectionLog connection_log_;
  RootSpace space_;
  DcgmFeed dcgm_;
  CheckpointDeleter deletions_;
  ArtifactUploader uploads_;
  WorkThread disk_;  // deletions, free space, jobs of GPUs; last: its work ends before the rest goes
};

}  // namespace mantissa::agent
