// The conversation with one trainer process: Hello, Bind, then attempts one after another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"

#include "mantissa/v1/job.pb.h"
#include "mantissa/v1/trainer_frame.pb.h"
#include "process/clock.h"
#include "process/sandbox_level.h"
#include "worker/agent/trainers/trainer_event.h"
#include "worker/agent/trainers/trainer_process.h"

namespace mantissa::agent {

inline constexpr int kTrainerProtocol = 1;  // oldest and newest that this agent speaks

// Invariant: there is a running attempt exactly in kRunning. A failing call means that the trainer is of no further use
// and is to be killed. Not thread-safe.
class TrainerSession {
 public:
  // kStarting --Hello--> kWarm --Bind--> kBinding --Bound--> kBound --RunAttempt--> kRunning --AttemptEnded--> kBound
  //                                                                                     \--(not reusable)--> kSpent
  // The agent makes the moves named by a command, the trainer those named by a report.
  enum class Stage { kStarting, kWarm, kBinding, kBound, kRunning, kSpent };

  TrainerSession(std::uint64_t id, std::string device_id) : process_(id), device_id_(std::move(device_id)) {}

  TrainerProcess& process() { return process_; }
  const TrainerProcess& process() const { return process_; }
  const std::string& device_id() const { return device_id_; }
  Stage stage() const { return stage_; }
  const v1::Hello& hello() const { return hello_; }                    // from kWarm on
  const std::string& tenant() const { return tenant_; }                // from kBinding on
  const std::string& sandbox_level() const { return sandbox_level_; }  // from kBound on
  int attempts() const { return attempts_; }                           // begun
  const RunOrder* running() const { return run_.has_value() ? &run_->order : nullptr; }
  bool stopping() const { return run_.has_value() && run_->stopping; }

  // When the trainer is late with what it owes next: Hello, Bound, or the first word about its attempt.
  process::SteadyTime deadline() const { return deadline_; }

  absl::Status Greet(process::SteadyTime deadline);
  absl::Status Bind(const std::string& tenant, const v1::Device& device, const std::vector<v1::BoundRoot>& roots,
                    process::SandboxLevel required, process::SteadyTime deadline);
  absl::Status Run(RunOrder order, process::SteadyTime deadline);
  absl::Status Stop(const StopOrder& order);
  // Its attempt goes on although it was asked to stop.
  void LetGoOn();
  absl::Status Tell(v1::CheckpointCommitted committed);
  absl::Status Shutdown();

  // Reads what is there. OUT_OF_RANGE when the trainer closed its end.
  absl::Status Read(std::vector<TrainerEvent>& events);

  // Why the agent kills it, for the attempt's end; without it, the process's own end says why.
  void Condemn(ExitReason reason, bool as_asked);

  // The process is dead: delivers what it had sent, then AttemptLost where an attempt was running.
  void Finish(const ProcessEnded& ended, std::vector<TrainerEvent>& events);

 private:
  struct CurrentRun {
    RunOrder order;
    bool stopping = false;
    std::optional<ExitReason> verdict;
  };

  absl::Status Send(const v1::TrainerCommand& command);
  absl::Status Handle(v1::TrainerReport report, std::vector<TrainerEvent>& events);
  absl::Status OnHello(const v1::Hello& hello);
  absl::Status OnBound(const v1::Bound& bound);
  void OnAttemptEnded(v1::TrainerReport report, std::vector<TrainerEvent>& events);
  void PassOutput(std::vector<TrainerEvent>& events);

  TrainerProcess process_;
  const std::string device_id_;
  Stage stage_ = Stage::kStarting;
  v1::Hello hello_;
  std::string tenant_;
  process::SandboxLevel required_sandbox_ = process::SandboxLevel::kNone;
  std::string sandbox_level_;
  int attempts_ = 0;
  std::optional<CurrentRun> run_;
  process::SteadyTime deadline_ = process::SteadyTime::max();
};

}  // namespace mantissa::agent
