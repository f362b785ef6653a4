// A worker for as long as an allocation lasts.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "process/clock.h"
#include "process/settings.h"
#include "worker/agent/worker_settings.h"

namespace mantissa::agent {

struct PilotOptions {
  std::optional<process::SteadyTime> end = std::nullopt;  // of the allocation; absent: it has none
  std::chrono::milliseconds margin{60'000};
  std::chrono::milliseconds idle{60'000};
  // On top of it before there is a first device and a server that answers: libraries are loaded, contexts made.
  std::chrono::milliseconds start{60'000};
};

// Decides when a worker in an allocation leaves: `margin` before the end, so that what runs can be saved and given
// back, or when there has been nothing to do for `idle`. Not thread-safe.
class Pilot {
 public:
  enum class Leave {
    kNo,
    kBeforeTheEnd,
    kIdle,
    kNeverReady,  // nobody could give it work: no server was ever reached, or no device came up
  };

  Pilot(PilotOptions options, process::SteadyTime now) : options_(options), idle_since_(now) {}

  // `busy`: some attempt is held; `ready`: the server answered last, and there is a device to offer it.
  Leave Decide(bool busy, bool ready, process::SteadyTime now);

 private:
  const PilotOptions options_;
  process::SteadyTime idle_since_;
  bool was_ready_ = false;
};

// What --pilot and its settings come to at `now`, which is `wall_now` elsewhere; nullopt without --pilot. The end comes
// from --pilot-end, else from SLURM_JOB_END_TIME. INVALID_ARGUMENT names the setting and the remedy, also where no time
// is left to work in.
absl::StatusOr<std::optional<PilotOptions>> PreparePilot(const WorkerSettings& settings,
                                                         const process::Environment& environment,
                                                         process::SteadyTime now, process::WallTime wall_now);

}  // namespace mantissa::agent
