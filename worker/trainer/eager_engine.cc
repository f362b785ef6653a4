#include "worker/trainer/eager_engine.h"

#include <chrono>
#include <utility>

namespace mantissa::trainer {
namespace {

constexpr std::chrono::milliseconds kSlice(5);

std::int64_t Nanos(std::chrono::nanoseconds duration) { return duration.count(); }

}  // namespace

EagerEngine::EagerEngine(RunState& state, StepProgram& program, const process::Clock& clock)
    : state_(state),
      program_(program),
      clock_(clock),
      wall_offset_nanos_(Nanos(clock.WallNow().time_since_epoch()) - Nanos(clock.Now().time_since_epoch())) {}

bool EagerEngine::RunUntil(const Boundary& boundary, Control& control) {
  process::SteadyTime began = clock_.Now();
  const process::SteadyTime slice_end = began + kSlice;
  StepState step = state_.step_state();
  while (!boundary.ReachedBy({step.iteration, step.step})) {
    if (began >= slice_end || step.halt != 0) return false;
    const std::int64_t window = step.iteration;
    if (!program_.Run(window, control)) return false;
    step = state_.step_state();
    const process::SteadyTime ended = clock_.Now();
    Report(step, began, ended, program_.SamplesIn(window));
    began = ended;
  }
  return true;
}

void EagerEngine::Report(const StepState& step, process::SteadyTime began, process::SteadyTime ended,
                         std::int64_t samples) {
  IterationReport report;
  report.record = RecordFrom(step);
  report.record.lineage = state_.lineage();
  report.record.time_unix_nanos = wall_offset_nanos_ + Nanos(ended.time_since_epoch());
  report.record.seconds = std::chrono::duration<double>(ended - began).count();
  if (report.record.seconds > 0) {
    report.record.samples_per_second = static_cast<double>(samples) / report.record.seconds;
  }
  if (!report.record.applied) report.offenders = Offenders(state_.iteration_state().ReadStats());
  reports_.push_back(std::move(report));
}

std::vector<IterationReport> EagerEngine::Poll() { return std::exchange(reports_, {}); }

}  // namespace mantissa::trainer
