#include "worker/trainer/attempt.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include <ATen/ATen.h>

#include "proto/spec/defaults.h"
#include "proto/spec/lineage.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/attempt_engine.h"
#include "worker/trainer/attempt_start.h"
#include "worker/trainer/evaluate.h"
#include "worker/trainer/guarded.h"
#include "worker/trainer/lineage_start.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/micro_batch.h"
#include "worker/trainer/replay.h"
#include "worker/trainer/report/run_events.h"
#include "worker/trainer/report/telemetry_sink.h"
#include "worker/trainer/study_attempt.h"

namespace mantissa::trainer {
namespace {

// Starts, and trains. Lives as long as one attempt.
class Attempt {
 public:
  // `spec` is as `lineage` trains it.
  Attempt(const v1::RunAttempt& run, const v1::JobSpec& spec, const v1::Lineage& lineage, const AttemptEnvironment& env,
          TelemetrySink& sink)
      : run_(run), lineage_(lineage), env_(env), sink_(sink), start_(run, spec, lineage, env) {}

  absl::StatusOr<RunOutcome> Run() {
    if (absl::Status built = start_.Build(); !built.ok()) return built;
    ResetPeakMemory(env_.device);
    return Train();
  }

 private:
  void Announce(const ChosenEngine& chosen) {
    v1::TrainerReport report;
    report.mutable_started()->set_job_id(run_.job_id());
    report.mutable_started()->set_attempt(run_.attempt());
    report.mutable_started()->set_resumed_from(start_.resumed_from());
    report.mutable_started()->set_total_iterations(static_cast<std::int32_t>(start_.total_iterations()));
    env_.channel.Send(report);
    const auto wall = env_.clock.WallNow().time_since_epoch();
    v1::TrainingStarted started = start_.Describe();
    started.set_recorded(chosen.recorded);
    sink_.Write(StartedEvent(std::chrono::duration_cast<std::chrono::nanoseconds>(wall).count(), started));
    for (const v1::JobEvent& notice : start_.notices()) sink_.Write(notice);
    if (chosen.notice) sink_.Write(*chosen.notice);
  }

  absl::StatusOr<RunOutcome> Train() {
    const v1::TrainingSpec& training = start_.training();
    RunState& state = start_.state();
    const PrecisionPolicy policy = start_.Policy();
    StepProgram program(state, {*start_.data().train, start_.Batches(), policy, training.seed()});
    const auto chosen = ChooseEngine(training.execution().mode(), state, program, env_.recorder, env_.clock);
    if (!chosen.ok()) return chosen.status();
    Announce(*chosen);
    Replay replay(state, program);
    RangeSampler ranges(state, program, training.telemetry().ranges_every_iterations(), env_.clock);
    MonitorSettings settings;
    settings.statistics_window = training.precision().statistics_window();
    PrecisionMonitor monitor(settings);
    Adviser adviser({.mode = training.precision().mode(),
                     .has_bf16 = HasArithmetic(env_.precisions, v1::PrecisionSpec::BF16),
                     .scaler = state.iteration_state().settings()});
    const v1::EvaluationSpec& evaluation = training.evaluation();
    TrainingRunParts parts{
        .state = state,
        .engine = *chosen->engine,
        .monitor = monitor,
        .sink = sink_,
        .control = env_.control,
        .checkpoints = start_.checkpoints(),
        .clock = env_.clock,
        .evaluate = {},
        .checkpoint_saved =
            [this](const v1::Checkpoint& checkpoint) {
              v1::TrainerReport report;
              *report.mutable_checkpoint_saved()->mutable_checkpoint() = checkpoint;
              env_.channel.Send(report);
            },
        .boundaries = BoundaryPlan({.iterations = start_.total_iterations(),
                                    .evaluate_every = evaluation.has_every_steps()
                                                          ? evaluation.every_steps()
                                                          : spec::EvaluationInterval(start_.total_iterations()),
                                    .checkpoint_every = training.checkpoint().every_steps(),
                                    .has_evaluation = start_.data().eval != nullptr}),
        .precision = training.precision(),
        .lineage = lineage_,
        .replay = &replay,
        .adviser = adviser,
        .ranges = ranges,
        .spikes = LossSpikeGuard(training.precision().loss_spike())};
    const BundleWriter bundles({run_.job_id(), run_.attempt(), start_.Submitted(), lineage_, env_.device_name}, state,
                               program, start_.checkpoints());
    if (training.checkpoint().bundle() != v1::CheckpointSpec::NEVER) parts.bundles = &bundles;
    parts.bundles_first_skip = training.checkpoint().bundle() == v1::CheckpointSpec::FIRST_SKIP;
    if (spec::MayIntervene(training.precision()) && start_.resumed_from().empty()) {
      parts.generation_zero_seed = training.seed();
    }
    if (start_.data().eval) {
      // What fits for training fits here; a window at once may not.
      const std::int32_t pieces = start_.ChoosesMicroBatch() ? training.accumulation() : 1;
      const EvaluationOptions options{MicroBatchOf(training.batch_size(), pieces),
                                      std::int64_t{evaluation.max_batches()} * pieces};
      parts.evaluate = [this, &state, &policy, options](Control& control) {
        return Evaluate(state.model(), *start_.data().eval, policy, options, control);
      };
    }
    return TrainingRun(parts).Run();
  }

  const v1::RunAttempt& run_;
  const v1::Lineage& lineage_;
  const AttemptEnvironment& env_;
  TelemetrySink& sink_;
  AttemptStart start_;
};

// `prefix`: of their names, which are unique in the job.
void AddArtifacts(const SavedCheckpoint& saved, const std::string& prefix, v1::AttemptEnded& ended) {
  const auto add = [&](const std::string& name, std::int64_t size, const std::string& sha256) {
    v1::Artifact& artifact = *ended.add_artifacts();
    artifact.set_name(prefix + name);
    artifact.set_size_bytes(size);
    artifact.set_sha256(sha256);
    artifact.mutable_create_time()->set_seconds(saved.manifest.create_time_unix_nanos / 1'000'000'000);
    ended.add_artifact_paths(absl::StrCat(saved.path, "/", name));
  };
  for (const ManifestFile& file : saved.manifest.files) add(file.name, file.size_bytes, file.sha256);
  add(kManifestName, saved.manifest_size_bytes, saved.manifest_sha256);
}

TelemetrySinkOptions SinkOptions(const v1::RunAttempt& run, const v1::TrainingSpec& training) {
  TelemetrySinkOptions options;
  options.attempt = run.attempt();
  options.scaled = training.precision().mode() == v1::PrecisionSpec::FP16;
  options.every_iterations = std::max(1, training.telemetry().every_iterations());
  return options;
}

}  // namespace

v1::AttemptEnded RunAttempt(const v1::RunAttempt& run, const AttemptEnvironment& environment) {
  const v1::JobSpec submitted = spec::ResolveDefaults(run.spec());
  if (submitted.has_study()) return RunStudyAttempt(run, submitted, environment);
  const v1::Lineage lineage = LineageOf(run, submitted);
  const v1::JobSpec spec = InLineage(submitted, lineage);
  TelemetrySink sink(environment.channel, SinkOptions(run, spec.training()));
  const auto outcome = [&]() -> absl::StatusOr<RunOutcome> {
    if (absl::Status good = CheckSpec(submitted); !good.ok()) return good;
    Attempt attempt(run, spec, lineage, environment, sink);
    absl::StatusOr<RunOutcome> outcome = absl::UnknownError("");
    const absl::Status ran = Guarded("training", environment.device_name, [&] {
      outcome = attempt.Run();
      return outcome.status();
    });
    if (!ran.ok()) return ran;
    return outcome;
  }();
  ReleaseMemory(environment.device);

  v1::AttemptEnded ended;
  ended.set_job_id(run.job_id());
  ended.set_attempt(run.attempt());
  if (outcome.ok()) {
    ended.set_state(outcome->state);
    ended.set_reason(outcome->reason);
    ended.set_message(outcome->message);
    *ended.mutable_result() = outcome->result;
    ended.mutable_result()->set_precision(spec.training().precision().mode());
    ended.mutable_result()->set_emulated(!LackingModes(spec.training().precision(), environment.precisions).empty());
    if (outcome->intervention) *ended.mutable_intervention() = *outcome->intervention;
    const bool whole = outcome->last_checkpoint && outcome->last_checkpoint->manifest.final;
    if (whole) AddArtifacts(*outcome->last_checkpoint, "", ended);
    if (outcome->bundle) AddArtifacts(*outcome->bundle, absl::StrFormat("bundle-%04d/", run.attempt()), ended);
  } else {
    ended.set_state(v1::Attempt::FAILED);
    ended.set_reason(ReasonOf(outcome.status()));
    ended.set_message(std::string(outcome.status().message()));
  }
  ended.set_reusable(ended.state() == v1::Attempt::SUCCEEDED);
  sink.Finish();
  ended.set_last_attempt_sequence(sink.last_sequence());
  return ended;
}

}  // namespace mantissa::trainer
