// Runs a skipped iteration once more, with checks in every module, to say for certain where it stopped being finite.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "worker/amp/iteration_record.h"
#include "worker/trainer/engine.h"
#include "worker/trainer/fault_location.h"
#include "worker/trainer/run_state.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {

// What a run sets ScalerSettings::replay_after to: a skip after so many iterations applied in a row is news.
inline constexpr std::int32_t kQuietStretch = 100;

// A skip changes nothing, so the state an iteration had is the present one; its samples and its dropout follow from its
// number, its loss scale is in the state. What a replay writes (gradients, their statistics) the next iteration
// overwrites; running statistics wait for a commit that never comes. So the training goes on with the bits it would
// have had without it. Not thread-safe.
class Replay {
 public:
  // A replay takes about three times as long as an iteration: at most kMost of them in any kWithin iterations, so that
  // a run whose scale keeps probing its limit does not pay more than about one percent.
  static constexpr int kMost = 4;
  static constexpr std::int64_t kWithin = 1000;

  // Both outlive it.
  Replay(RunState& state, StepProgram& program) : state_(state), program_(program) {}

  // `record` is of the iteration that set Halt::kReplay, and nothing is in flight. Releases the halt in any case;
  // nothing when a stop request came in the middle.
  std::optional<FaultLocation> Locate(const IterationRecord& record, Control& control);

  // The same of a window that the present state, loss scale included, is the one before. Changes counters of no kind.
  std::optional<FaultLocation> Find(std::int64_t window, Control& control);

 private:
  // Of one micro-batch, whose gradients are added to those of the ones before it.
  std::optional<FaultLocation> SearchMicroBatch(std::int64_t window, std::int64_t micro_batch);
  // Whose gradient is not finite; was it so before it was added to the sum?
  FaultLocation InGradient(std::int64_t window, std::int64_t micro_batch, const Offender& offender);
  std::vector<Offender> Offending();
  std::int64_t NextReplay(std::int64_t iteration);

  RunState& state_;
  StepProgram& program_;
  std::deque<std::int64_t> recent_;  // iterations that were replayed, the newest kMost
};

}  // namespace mantissa::trainer
