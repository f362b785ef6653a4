#include "worker/trainer/pipelined_engine.h"

#include <algorithm>
#include <utility>

#include <c10/util/Exception.h>

#include "worker/trainer/overflow_cause.h"

namespace mantissa::trainer {
namespace {

// Short, for what the host does with a slice's records should take less time than the few iterations that are in flight
// meanwhile: else the device waits. Of iterations of 30 us a slice has some 30.
constexpr std::chrono::milliseconds kSlice(1);

std::int64_t Nanos(std::chrono::nanoseconds duration) { return duration.count(); }

// The first iteration that may reach the boundary: should every one from here on be applied, its step falls there.
std::int64_t EarliestReach(const Boundary& boundary, const StepState& known) {
  // Either may be a number that no run reaches: distances do not overflow, places would.
  return known.iteration + std::min(boundary.iteration - known.iteration, boundary.step - known.step);
}

}  // namespace

PipelinedEngine::PipelinedEngine(RunState& state, StepProgram& program, const process::Clock& clock, int in_flight)
    : state_(state),
      program_(program),
      clock_(clock),
      wall_offset_nanos_(Nanos(clock.WallNow().time_since_epoch()) - Nanos(clock.Now().time_since_epoch())),
      in_flight_(in_flight) {
  TORCH_CHECK(in_flight >= 1 && in_flight <= kMostInFlight, "1 to ", kMostInFlight,
              " iterations can be in flight, not ", in_flight);
}

bool PipelinedEngine::RunUntil(const Boundary& boundary, Control& control) {
  learned_ = clock_.Now();
  const process::SteadyTime slice_end = learned_ + kSlice;
  Refresh();
  while (!boundary.ReachedBy({known_.iteration, known_.step})) {
    if (known_.halt != 0) {
      Drain();
      return false;
    }
    if (learned_ >= slice_end || !Start(boundary, control)) return false;
    Learn();
  }
  return true;
}

bool PipelinedEngine::Start(const Boundary& boundary, Control& control) {
  const std::int64_t earliest = EarliestReach(boundary, known_);
  while (pending() < in_flight_) {
    const std::int64_t next = known_.iteration + pending();
    if (next >= earliest || (pending() > 0 && !MayFollow(next))) break;
    if (!StartIteration(next, control)) return false;
  }
  return true;
}

void PipelinedEngine::Learn() {
  const std::int64_t before = known_.iteration;
  const process::SteadyTime began = learned_;
  const Learned learned = FinishIteration();
  known_ = learned.state;
  learned_ = clock_.Now();
  // An earlier one has halted the run, and nothing has come of this one.
  if (known_.iteration == before) return;
  Report(learned, began);
}

void PipelinedEngine::Report(const Learned& learned, process::SteadyTime began) {
  const StepState& step = learned.state;
  IterationReport report;
  report.record = RecordFrom(step);
  report.record.lineage = state_.lineage();
  report.record.time_unix_nanos = wall_offset_nanos_ + Nanos(learned_.time_since_epoch());
  report.record.seconds = std::chrono::duration<double>(learned.took.value_or(learned_ - began)).count();
  if (report.record.seconds > 0) {
    report.record.samples_per_second =
        static_cast<double>(program_.SamplesIn(step.iteration - 1)) / report.record.seconds;
  }
  if (!report.record.applied) {
    report.offenders = Offenders(stats());
    const std::vector<Parameter>& parameters = state_.model().parameters().parameters();
    report.record.cause = CauseOf(report.record.cause, report.offenders, parameters);
  }
  reports_.push_back(std::move(report));
}

std::vector<IterationReport> PipelinedEngine::Poll() { return std::exchange(reports_, {}); }

void PipelinedEngine::Drain() {
  while (pending() > 0) Learn();
}

Progress PipelinedEngine::progress() {
  Refresh();
  return {known_.iteration, known_.step};
}

// With nothing in flight the state is free to be written by others: a restore, a released halt.
void PipelinedEngine::Refresh() {
  if (pending() == 0) known_ = state_.step_state();
}

}  // namespace mantissa::trainer
