#include "worker/trainer/training_run.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

#include "proto/spec/lineage.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/report/run_events.h"

namespace mantissa::trainer {
namespace {

constexpr int kMaxFailedSaves = 3;
constexpr std::chrono::seconds kMemorySampling(1);

}  // namespace

RunOutcome TrainingRun::Run() {
  if (absl::Status saved = SaveGenerationZero(); !saved.ok()) return NotSaved(saved);
  while (const std::optional<Boundary> goal = parts_.boundaries.Next(progress())) {
    const bool reached = parts_.engine.RunUntil(*goal, parts_.control);
    Observe(parts_.engine.Poll());
    if (const auto& intervention = parts_.monitor.Intervention()) return Intervene(*intervention);
    if (auto ended = AnswerSpike()) return *std::move(ended);
    if (parts_.control.stop_requested()) {
      if (auto ended = Stop()) return *std::move(ended);
    }
    if (!reached) continue;
    const DueWork due = parts_.boundaries.At(progress());
    if (due.evaluate && !EvaluateNow()) {
      if (auto ended = Stop()) return *std::move(ended);
    }
    if (!due.checkpoint) continue;
    if (absl::Status saved = SaveAtBoundary(due.final); !saved.ok()) return NotSaved(saved);
  }
  return Complete();
}

void TrainingRun::Observe(std::vector<IterationReport> reports) {
  const process::SteadyTime now = parts_.clock.Now();
  for (IterationReport& report : reports) {
    if (report.record.halt == Halt::kReplay) Explain(report);
    IterationRecord record = report.record;
    const Phase before = parts_.monitor.phase();
    record.phase = parts_.monitor.Observe(record);
    training_seconds_ += record.seconds;
    samples_ += record.samples_per_second * record.seconds;
    SampleMemory(now, record);
    parts_.sink.Write(record, now);
    if (!record.applied) {
      const v1::JobEvent event = SkippedEvent(report, parts_.state.model().parameters().parameters(), parts_.scaled());
      parts_.sink.Write(event);
      if (!first_skip_) first_skip_ = Skip{record, event};
      if (report.location && parts_.bundles_first_skip && !bundle_) SaveBundle(record, event);
    } else if (record.next_loss_scale > record.loss_scale) {
      parts_.sink.Write(ScaleGrownEvent(record));
    }
    if (record.applied) first_skip_.reset();
    if (record.phase != before) parts_.sink.Write(PhaseEvent(record, before));
    Say(parts_.adviser.Observe(record, parts_.monitor), record);
    if (auto spike = spikes_.Observe(record)) spike_ = spike;
  }
  if (!reports.empty()) {
    last_record_ = reports.back().record;
    SampleRanges();
  }
  parts_.sink.Tick(now, &parts_.monitor);
}

// Where iterations are in flight it stands behind them on their stream, and sees the parameters they leave.
void TrainingRun::SampleRanges() {
  const std::optional<ModuleRanges> ranges = parts_.ranges.SampleIfDue(last_record_->iteration);
  if (!ranges) return;
  parts_.sink.Write(RangesEvent(*last_record_, *ranges, parts_.precision.mode(), parts_.scaled()));
  Say(parts_.adviser.Observe(*ranges, parts_.monitor), *last_record_);
}

void TrainingRun::Say(const std::vector<Advice>& advice, const IterationRecord& record) {
  for (const Advice& said : advice) parts_.sink.Write(AdviceEvent(record, said));
}

void TrainingRun::Explain(IterationReport& report) {
  report.location = parts_.replay->Locate(report.record, parts_.control);
  if (report.location) report.record.cause = CauseAt(*report.location, report.record.cause);
}

RunOutcome TrainingRun::Intervene(const Intervention& intervention) {
  const v1::Reason::Code reason =
      intervention.reason == Halt::kScaleAtFloor ? v1::Reason::SCALE_AT_MINIMUM : v1::Reason::NUMERIC_FAILURE;
  const StepState step = parts_.state.step_state();
  v1::IndexRange skipped;
  skipped.set_first(static_cast<std::int32_t>(step.iteration - std::max(1, step.skips_in_row) + 1));
  skipped.set_last(static_cast<std::int32_t>(step.iteration));
  const auto next = spec::ChooseIntervention(parts_.precision, parts_.lineage, reason, skipped);
  std::string message = intervention.message;
  // No skipped iteration has changed it: the state before the trouble is worth keeping, and a fallback goes on from it.
  // Whoever goes back has no use for it.
  const bool goes_back = next && next->kind() == v1::Intervention::ROLLBACK;
  if (!goes_back && Save(/*final=*/false).ok()) {
    absl::StrAppend(&message, " The state before the failure is kept in checkpoint ", last_checkpoint_->name, ".");
  }
  if (first_skip_) SaveBundle(first_skip_->record, first_skip_->event);
  if (!next) {
    const std::string why = spec::WhyNoIntervention(parts_.precision, parts_.lineage, reason, skipped);
    absl::StrAppend(&message, why.empty() ? "" : " ", why);
  }
  RunOutcome outcome = End(v1::Attempt::FAILED, reason, std::move(message));
  outcome.intervention = next;
  return outcome;
}

// Nothing is saved: what the spike has made of the parameters is not worth keeping, and what was saved before is there.
std::optional<RunOutcome> TrainingRun::AnswerSpike() {
  if (!spike_) return std::nullopt;
  const Spike spike = *std::exchange(spike_, std::nullopt);
  v1::IndexRange iterations;
  iterations.set_first(static_cast<std::int32_t>(spike.first));
  iterations.set_last(static_cast<std::int32_t>(spike.last));
  std::string message =
      absl::StrCat("the loss jumped to ", spike.loss, " from a running median of ", spike.median, " at iteration ",
                   spike.first, " and stayed far above it up to iteration ", spike.last, ".");
  const auto next = spec::ChooseIntervention(parts_.precision, parts_.lineage, v1::Reason::LOSS_SPIKE, iterations);
  if (!next) {
    absl::StrAppend(&message, " ",
                    spec::WhyNoIntervention(parts_.precision, parts_.lineage, v1::Reason::LOSS_SPIKE, iterations),
                    " The run goes on: look at the data of those windows, or lower the learning rate.");
    v1::JobEvent event = MakeEvent(WallNanos(), v1::JobEvent::WARNING, "LOSS_SPIKE", message);
    event.set_iteration(iterations.last());
    parts_.sink.Write(std::move(event));
    return std::nullopt;
  }
  parts_.engine.Drain();
  Observe(parts_.engine.Poll());
  RunOutcome outcome = End(v1::Attempt::FAILED, v1::Reason::LOSS_SPIKE, std::move(message));
  outcome.intervention = next;
  return outcome;
}

void TrainingRun::SaveBundle(const IterationRecord& record, const v1::JobEvent& event) {
  if (parts_.bundles == nullptr) return;
  absl::StatusOr<SavedCheckpoint> saved = parts_.bundles->Save(record, event, WallNanos());
  parts_.sink.Write(BundleEvent(WallNanos(), record.iteration, saved));
  // One that failed has removed what was there before it.
  bundle_ = saved.ok() ? std::optional(*std::move(saved)) : std::nullopt;
}

std::optional<RunOutcome> TrainingRun::Stop() {
  parts_.engine.Drain();
  Observe(parts_.engine.Poll());
  const StopRequest stop = parts_.control.stop();
  if (stop.checkpoint) {
    absl::Status saved = Save(/*final=*/false);
    if (!saved.ok()) saved = Save(/*final=*/false);
    if (!saved.ok() && stop.or_go_on) {
      parts_.control.DeclineStop(saved);
      return std::nullopt;
    }
    if (!saved.ok()) return NotSaved(saved);
  }
  return End(v1::Attempt::CANCELLED, v1::Reason::REASON_UNSPECIFIED,
             absl::StrCat("stopped at iteration ", progress().iteration));
}

RunOutcome TrainingRun::Complete() {
  const Progress end = progress();
  // Shorter than what it takes to call it a failure, but nothing was learned.
  if (end.step == 0 && first_skip_) {
    return Intervene({Halt::kSkipsInRow,
                      absl::StrCat("every one of its ", end.iteration,
                                   " iterations was skipped, so nothing was learned: look at the first overflow, which "
                                   "names the place, lower the learning rate, or train in BF16 or longer.")});
  }
  // A run that was resumed at its very end has met no boundary.
  if (!last_checkpoint_) {
    if (parts_.evaluate && !EvaluateNow()) {
      if (auto ended = Stop()) return *std::move(ended);
    }
    if (absl::Status saved = Save(/*final=*/true); !saved.ok()) return NotSaved(saved);
  }
  const Progress at = progress();
  return End(v1::Attempt::SUCCEEDED, v1::Reason::COMPLETED,
             absl::StrCat("trained ", at.iteration, " iterations, ", at.step, " applied"));
}

bool TrainingRun::EvaluateNow() {
  std::optional<v1::EvaluationResult> result = parts_.evaluate(parts_.control);
  if (!result) return false;
  const Progress at = progress();
  result->set_step(static_cast<std::int32_t>(at.step));
  parts_.sink.Write(EvaluationEvent(WallNanos(), at.iteration, *result));
  last_evaluation_ = std::move(result);
  return true;
}

absl::Status TrainingRun::SaveAtBoundary(bool final) {
  const absl::Status saved = Save(final);
  failed_saves_ = saved.ok() ? 0 : failed_saves_ + 1;
  return final || failed_saves_ == kMaxFailedSaves ? saved : absl::OkStatus();
}

absl::Status TrainingRun::SaveGenerationZero() {
  if (!parts_.generation_zero_seed) return absl::OkStatus();
  const process::SteadyTime began = parts_.clock.Now();
  return Saved(parts_.checkpoints.SaveGenerationZero(parts_.state, *parts_.generation_zero_seed, WallNanos()), began);
}

absl::Status TrainingRun::Save(bool final) {
  if (last_checkpoint_ && last_checkpoint_->manifest.iteration == progress().iteration) return absl::OkStatus();
  const process::SteadyTime began = parts_.clock.Now();
  return Saved(parts_.checkpoints.Save(parts_.state, final, WallNanos()), began);
}

absl::Status TrainingRun::Saved(absl::StatusOr<SavedCheckpoint> saved, process::SteadyTime began) {
  const Progress at = progress();
  if (!saved.ok()) {
    const std::string message =
        absl::StrCat("the checkpoint at iteration ", at.iteration, " could not be saved: ", saved.status().message());
    v1::JobEvent event = MakeEvent(WallNanos(), v1::JobEvent::ERROR, "CHECKPOINT_NOT_SAVED", message);
    event.set_iteration(static_cast<std::int32_t>(at.iteration));
    parts_.sink.Write(std::move(event));
    return absl::Status(saved.status().code(), message);
  }
  v1::CheckpointEvent checkpoint;
  checkpoint.set_name(saved->name);
  checkpoint.set_step(static_cast<std::int32_t>(saved->manifest.step));
  checkpoint.set_seconds(std::chrono::duration<double>(parts_.clock.Now() - began).count());
  checkpoint.set_size_bytes(saved->size_bytes);
  parts_.sink.Write(CheckpointSavedEvent(WallNanos(), at.iteration, checkpoint));
  parts_.checkpoint_saved(parts_.checkpoints.Describe(*saved));
  last_checkpoint_ = *std::move(saved);
  return absl::OkStatus();
}

void TrainingRun::SampleMemory(process::SteadyTime now, IterationRecord& record) {
  if (now - memory_sampled_ < kMemorySampling) return;
  memory_sampled_ = now;
  record.memory_bytes = MemoryInUse(parts_.state.device());
  record.peak_memory_bytes = PeakMemory(parts_.state.device());
}

RunOutcome TrainingRun::NotSaved(const absl::Status& status) {
  return End(v1::Attempt::FAILED, v1::Reason::CHECKPOINT_FAILED, std::string(status.message()));
}

RunOutcome TrainingRun::End(v1::Attempt::State state, v1::Reason::Code reason, std::string message) {
  parts_.sink.Heartbeat(&parts_.monitor);
  RunOutcome outcome{state, reason, std::move(message), {}, std::move(last_checkpoint_)};
  outcome.bundle = std::move(bundle_);
  const StepState step = parts_.state.step_state();
  v1::JobResult& result = outcome.result;
  result.set_iterations(static_cast<std::int32_t>(step.iteration));
  result.set_steps(static_cast<std::int32_t>(step.step));
  result.set_skipped_iterations(static_cast<std::int32_t>(step.iteration - step.step));
  if (last_record_) result.set_loss(last_record_->loss);
  if (last_evaluation_) {
    result.set_eval_loss(last_evaluation_->loss());
    if (last_evaluation_->has_accuracy()) result.set_eval_accuracy(last_evaluation_->accuracy());
    if (last_evaluation_->has_perplexity()) result.set_eval_perplexity(last_evaluation_->perplexity());
  }
  if (parts_.scaled()) result.set_loss_scale(step.loss_scale);
  const auto whole_seconds = static_cast<std::int64_t>(training_seconds_);
  result.mutable_training_time()->set_seconds(whole_seconds);
  result.mutable_training_time()->set_nanos(
      static_cast<std::int32_t>((training_seconds_ - static_cast<double>(whole_seconds)) * 1e9));
  if (training_seconds_ > 0) result.set_samples_per_second(samples_ / training_seconds_);
  result.set_peak_memory_bytes(PeakMemory(parts_.state.device()));
  if (outcome.last_checkpoint) result.set_checkpoint(outcome.last_checkpoint->name);
  return outcome;
}

std::int64_t TrainingRun::WallNanos() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(parts_.clock.WallNow().time_since_epoch()).count();
}

}  // namespace mantissa::trainer
