// Where a run stops to evaluate, to save, and at last to end. Intervals count applied steps, the length counts
// iterations. Pure.
#pragma once

#include <cstdint>
#include <optional>

namespace mantissa::trainer {

struct Progress {
  std::int64_t iteration = 0;  // windows consumed
  std::int64_t step = 0;       // updates applied
};

// Reached by the first progress that has either number.
struct Boundary {
  std::int64_t iteration = 0;
  std::int64_t step = 0;

  bool ReachedBy(const Progress& progress) const { return progress.iteration >= iteration || progress.step >= step; }
};

// What is to be done at a boundary that was reached.
struct DueWork {
  bool evaluate = false;
  bool checkpoint = false;
  bool final = false;  // the run is over
};

struct BoundaryPlanOptions {
  std::int64_t iterations = 0;        // length of the run
  std::int64_t evaluate_every = 0;    // steps; 0: only at the end
  std::int64_t checkpoint_every = 0;  // steps; 0: only at the end
  bool has_evaluation = false;
};

// Immutable; thread-safe.
class BoundaryPlan {
 public:
  explicit BoundaryPlan(const BoundaryPlanOptions& options) : options_(options) {}

  // Nothing when the run is over. Work that was due where `progress` stands counts as done: at a step that later
  // iterations skipped past, nothing happens twice.
  std::optional<Boundary> Next(const Progress& progress) const;

  // `progress` has just reached what Next said.
  DueWork At(const Progress& progress) const;

 private:
  const BoundaryPlanOptions options_;
};

}  // namespace mantissa::trainer
