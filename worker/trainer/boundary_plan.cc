#include "worker/trainer/boundary_plan.h"

#include <algorithm>
#include <limits>

namespace mantissa::trainer {
namespace {

// The next multiple above `step`.
std::int64_t NextMultiple(std::int64_t step, std::int64_t every) {
  return every > 0 ? (step / every + 1) * every : std::numeric_limits<std::int64_t>::max();
}

bool IsMultiple(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

}  // namespace

std::optional<Boundary> BoundaryPlan::Next(const Progress& progress) const {
  if (progress.iteration >= options_.iterations) return std::nullopt;
  std::int64_t step = NextMultiple(progress.step, options_.checkpoint_every);
  if (options_.has_evaluation) step = std::min(step, NextMultiple(progress.step, options_.evaluate_every));
  return Boundary{options_.iterations, step};
}

DueWork BoundaryPlan::At(const Progress& progress) const {
  if (progress.iteration >= options_.iterations) return {options_.has_evaluation, true, true};
  return {options_.has_evaluation && IsMultiple(progress.step, options_.evaluate_every),
          IsMultiple(progress.step, options_.checkpoint_every), false};
}

}  // namespace mantissa::trainer
