#include "worker/amp/verdict.h"

#include "worker/amp/step_decisions.h"

namespace mantissa::trainer {

void Judge(const ScalerSettings& settings, std::span<const GradientStats> stats, double loss, StepState* state) {
  GradientStats totals;
  for (const GradientStats& row : stats) {
    totals.sum_of_squares += row.sum_of_squares;
    totals.inf_count += row.inf_count;
    totals.nan_count += row.nan_count;
  }
  DecideUpdate(settings, totals, loss, state);
}

std::vector<Offender> Offenders(std::span<const GradientStats> stats) {
  std::vector<Offender> offenders;
  for (std::size_t i = stats.size(); i-- > 0;) {
    if (stats[i].inf_count > 0 || stats[i].nan_count > 0) {
      offenders.push_back({i, stats[i].inf_count, stats[i].nan_count});
    }
  }
  return offenders;
}

}  // namespace mantissa::trainer
