#include "worker/trainer/attempt.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <ATen/ATen.h>
#include <ATen/Version.h>
#include <torch/headeronly/version.h>

#include "proto/spec/defaults.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/amp/loss_scaler.h"
#include "worker/data/load_data.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/eager_engine.h"
#include "worker/trainer/evaluate.h"
#include "worker/trainer/execution_plan.h"
#include "worker/trainer/initialise_from.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/micro_batch.h"
#include "worker/trainer/report/run_events.h"
#include "worker/trainer/report/telemetry_sink.h"

namespace mantissa::trainer {
namespace {

constexpr char kCheckpointsRoot[] = "checkpoints";

BatchPlan PlanBatches(const v1::TrainingSpec& training, const Dataset& data) {
  return BatchPlan({.samples = data.size(),
                    .batch_size = training.batch_size(),
                    .accumulation = training.accumulation(),
                    .seed = training.seed()});
}

// Builds what a run is made of, and runs it. Lives as long as one attempt.
class Attempt {
 public:
  Attempt(const v1::RunAttempt& run, const v1::JobSpec& spec, const AttemptEnvironment& env, TelemetrySink& sink)
      : run_(run), spec_(spec), env_(env), sink_(sink) {}

  absl::StatusOr<RunOutcome> Run() {
    for (const auto part : {&Attempt::ReadData, &Attempt::FitMemory, &Attempt::BuildState, &Attempt::Resume,
                            &Attempt::Initialise, &Attempt::TryMicroBatches, &Attempt::Reclaim}) {
      if (absl::Status done = (this->*part)(); !done.ok()) return done;
    }
    Announce();
    ResetPeakMemory(env_.device);
    return Train();
  }

 private:
  absl::Status ReadData() {
    auto data = LoadTrainingData(training_, env_.roots, AvailableMemory(env_.memory_limit_bytes));
    if (!data.ok()) return DataError(data.status());
    data_ = *std::move(data);
    windows_per_epoch_ = spec::IterationsPerEpoch(data_.train->size(), training_.batch_size());
    auto total = TotalIterations(training_, windows_per_epoch_);
    if (!total.ok()) return total.status();
    total_iterations_ = *total;
    free_bytes_ = FreeMemory(env_.device, env_.memory_limit_bytes);
    data_.train->MoveTo(env_.device);
    if (data_.eval) data_.eval->MoveTo(env_.device);
    return absl::OkStatus();
  }

  bool ChoosesMicroBatch() const { return training_.micro_batch() == v1::MicroBatch::AUTO; }

  // From here on the spec has an accumulation, chosen or given.
  absl::Status FitMemory() {
    const spec::SampleShape& sample = data_.train->shape().sample;
    absl::Status fits;
    if (ChoosesMicroBatch()) {
      auto chosen = ChooseMicroBatch(training_, sample, free_bytes_, env_.device_name, nullptr);
      fits = chosen.status();
      if (fits.ok()) chosen_ = *std::move(chosen);
      if (fits.ok()) spec_.mutable_training()->set_accumulation(chosen_->accumulation());
    } else {
      fits = CheckMemory(training_, sample, free_bytes_, env_.device_name);
    }
    return fits.ok() ? fits : Because(v1::Reason::OUT_OF_DEVICE_MEMORY, fits);
  }

  absl::Status BuildState() {
    const spec::SampleShape& sample = data_.train->shape().sample;
    plan_ = MakePlan(spec_, sample, machine_);
    ResetProcess(plan_.threads);
    const ScalerSettings scaler = ScalerSettingsFrom(training_.precision(), training_.max_grad_norm());
    state_.emplace(BuildModel(training_.model(), sample, training_.seed(), env_.device),
                   RunStateOptions{training_.optimizer(), training_.schedule(), total_iterations_, scaler},
                   env_.device);
    return absl::OkStatus();
  }

  absl::Status Resume() {
    const process::OpenRoot* root = env_.roots.Find(kCheckpointsRoot);
    if (root == nullptr || !root->writable()) {
      return Because(v1::Reason::CHECKPOINT_FAILED,
                     absl::FailedPreconditionError(
                         "this worker has no writable root named checkpoints; configure one and restart it"));
    }
    RunCheckpointOptions options{.job_id = run_.job_id(),
                                 .attempt = run_.attempt(),
                                 .storage_id = env_.checkpoint_storage_id,
                                 .windows_per_epoch = windows_per_epoch_,
                                 .execution_plan = {},
                                 .versions = {{"mantissa", env_.version}, {"torch", TORCH_VERSION}}};
    if (run_.resume_from_size() > 0) {
      if (absl::Status resumed = RestoreFrom(RunCheckpoints(*root, options)); !resumed.ok()) return resumed;
    }
    checkpoint_options_ = std::move(options);
    return absl::OkStatus();
  }

  // Parameters to begin with, where nothing was resumed.
  absl::Status Initialise() {
    if (!training_.has_init_from() || !resumed_from_.empty()) return absl::OkStatus();
    const InitialSources sources{.roots = env_.roots,
                                 .checkpoints = *env_.roots.Find(kCheckpointsRoot),
                                 .checkpoint = run_.has_init_from() ? &run_.init_from() : nullptr,
                                 .max_bytes = AvailableMemory(env_.memory_limit_bytes)};
    auto from = InitialiseFrom(training_.init_from(), sources, *state_);
    if (from.ok()) {
      notices_.push_back(Notice(v1::JobEvent::INFO, "INITIALISED", *from));
      return absl::OkStatus();
    }
    if (absl::IsFailedPrecondition(from.status())) return Because(v1::Reason::BAD_SPEC, from.status());
    if (training_.init_from().source_case() == v1::InitFrom::kPath) return DataError(from.status());
    return Because(v1::Reason::CHECKPOINT_FAILED, from.status());
  }

  // Where the micro-batch is ours to choose: an attempt that goes on follows the job's first one; else a device whose
  // allocator can say no has the last word.
  absl::Status TryMicroBatches() {
    if (ChoosesMicroBatch() && resumed_from_.empty()) {
      if (!env_.device.is_cpu()) {
        const RunSnapshot before = state_->Snapshot();
        auto chosen = ChooseMicroBatch(training_, data_.train->shape().sample, free_bytes_, env_.device_name,
                                       [this](std::int64_t micro_batch) { return PeakOfOneIteration(micro_batch); });
        if (absl::Status restored = state_->Restore(before); !restored.ok()) return restored;
        if (!chosen.ok()) return Because(v1::Reason::OUT_OF_DEVICE_MEMORY, chosen.status());
        chosen_ = *std::move(chosen);
        FollowMicroBatch(chosen_->micro_batch());
      }
      notices_.push_back(MicroBatchEvent(WallNanos(), *chosen_));
    }
    checkpoint_options_.execution_plan = PlanFields(plan_);
    checkpoints_.emplace(*env_.roots.Find(kCheckpointsRoot), checkpoint_options_);
    return absl::OkStatus();
  }

  std::optional<std::int64_t> PeakOfOneIteration(std::int64_t micro_batch) {
    FollowMicroBatch(micro_batch);
    ReleaseMemory(env_.device);
    ResetPeakMemory(env_.device);
    try {
      StepProgram program(*state_, {*data_.train, PlanBatches(training_, *data_.train),
                                    PrecisionPolicy(training_.precision().mode()), training_.seed()});
      program.Run(/*window=*/0, env_.control);
      state_->step_state();  // waits for the device
      return PeakMemory(env_.device);
    } catch (const c10::OutOfMemoryError&) {
      return std::nullopt;
    }
  }

  void FollowMicroBatch(std::int64_t micro_batch) {
    plan_.micro_batch = micro_batch;
    spec_.mutable_training()->set_accumulation(AccumulationFor(training_.batch_size(), micro_batch));
  }

  // What earlier attempts left and nobody can want any more. Failing to is no reason not to train.
  absl::Status Reclaim() {
    if (!run_.has_committed()) return absl::OkStatus();
    const auto reclaimed = checkpoints_->Reclaim(run_.committed());
    if (!reclaimed.ok() || reclaimed->generations > 0) notices_.push_back(ReclaimedEvent(WallNanos(), reclaimed));
    return absl::OkStatus();
  }

  absl::Status RestoreFrom(const RunCheckpoints& checkpoints) {
    auto loaded = checkpoints.Load(run_.resume_from());
    if (!loaded.ok()) {
      notices_.push_back(Notice(v1::JobEvent::ERROR, "CHECKPOINT_DAMAGED", std::string(loaded.status().message())));
      if (spec_.retry().restart_without_checkpoint()) return absl::OkStatus();
      return Because(v1::Reason::CHECKPOINT_FAILED,
                     absl::DataLossError(
                         absl::StrCat(loaded.status().message(),
                                      "; repair the storage, or set retry.restart_without_checkpoint to start again")));
    }
    for (const std::string& damage : loaded->damaged) {
      notices_.push_back(Notice(v1::JobEvent::ERROR, "CHECKPOINT_DAMAGED", damage));
    }
    if (absl::Status restored = state_->Restore(loaded->snapshot); !restored.ok()) {
      return Because(v1::Reason::CHECKPOINT_FAILED, restored);
    }
    resumed_from_ = loaded->name;
    const std::map<std::string, std::string>& saved = loaded->manifest.execution_plan;
    const std::int64_t micro_batch = plan_.micro_batch;
    plan_ = FollowPlan(plan_, saved, spec_, machine_);
    if (ChoosesMicroBatch()) {
      const bool fits = EstimateAt(training_, data_.train->shape().sample, plan_.micro_batch).Total() <= free_bytes_;
      FollowMicroBatch(fits ? plan_.micro_batch : micro_batch);
    }
    ResetProcess(plan_.threads);
    std::vector<std::string> differences = PlanDifferences(saved, plan_);
    if (loaded->manifest.data_cursor.windows_per_epoch != windows_per_epoch_) {
      differences.push_back(absl::StrCat("windows_per_epoch (was ", loaded->manifest.data_cursor.windows_per_epoch,
                                         ", is ", windows_per_epoch_, ": the data changed)"));
    }
    if (!differences.empty()) {
      notices_.push_back(Notice(
          v1::JobEvent::WARNING, "RESUME_NOT_BITWISE",
          absl::StrCat("resumed, but the results may differ in their last bits: ", absl::StrJoin(differences, ", "))));
    }
    return absl::OkStatus();
  }

  void Announce() {
    v1::TrainerReport report;
    report.mutable_started()->set_job_id(run_.job_id());
    report.mutable_started()->set_attempt(run_.attempt());
    report.mutable_started()->set_resumed_from(resumed_from_);
    report.mutable_started()->set_total_iterations(static_cast<std::int32_t>(total_iterations_));
    env_.channel.Send(report);
    v1::TrainingStarted started;
    started.set_device(env_.device_name);
    started.set_precision(training_.precision().mode());
    started.set_threads(plan_.threads);
    started.set_parameter_count(state_->model().parameters().count());
    started.set_total_iterations(static_cast<std::int32_t>(total_iterations_));
    started.set_resumed_from_step(static_cast<std::int32_t>(state_->step_state().step));
    started.set_torch_version(TORCH_VERSION);
    started.set_cpu_capability(machine_.cpu_capability);
    started.set_windows_per_epoch(static_cast<std::int32_t>(windows_per_epoch_));
    started.set_micro_batch(static_cast<std::int32_t>(plan_.micro_batch));
    started.set_accumulation(training_.accumulation());
    *started.mutable_memory() =
        MemoryEstimateOf(EstimateAt(training_, data_.train->shape().sample, plan_.micro_batch), free_bytes_);
    sink_.Write(StartedEvent(WallNanos(), started));
    for (v1::JobEvent& notice : notices_) sink_.Write(std::move(notice));
  }

  RunOutcome Train() {
    const PrecisionPolicy policy(training_.precision().mode());
    StepProgram program(*state_, {*data_.train, PlanBatches(training_, *data_.train), policy, training_.seed()});
    EagerEngine engine(*state_, program, env_.clock);
    PrecisionMonitor monitor(MonitorSettings{});
    const v1::EvaluationSpec& evaluation = training_.evaluation();
    TrainingRunParts parts{
        .state = *state_,
        .engine = engine,
        .monitor = monitor,
        .sink = sink_,
        .control = env_.control,
        .checkpoints = *checkpoints_,
        .clock = env_.clock,
        .evaluate = {},
        .checkpoint_saved =
            [this](const v1::Checkpoint& checkpoint) {
              v1::TrainerReport report;
              *report.mutable_checkpoint_saved()->mutable_checkpoint() = checkpoint;
              env_.channel.Send(report);
            },
        .boundaries =
            BoundaryPlan({.iterations = total_iterations_,
                          .evaluate_every = evaluation.has_every_steps() ? evaluation.every_steps()
                                                                         : spec::EvaluationInterval(total_iterations_),
                          .checkpoint_every = training_.checkpoint().every_steps(),
                          .has_evaluation = data_.eval != nullptr}),
        .scaled = training_.precision().mode() == v1::PrecisionSpec::FP16};
    if (data_.eval) {
      // What fits for training fits here; a window at once may not.
      const std::int32_t pieces = ChoosesMicroBatch() ? training_.accumulation() : 1;
      const EvaluationOptions options{MicroBatchOf(training_.batch_size(), pieces),
                                      std::int64_t{evaluation.max_batches()} * pieces};
      parts.evaluate = [this, &policy, options](Control& control) {
        return Evaluate(state_->model(), *data_.eval, policy, options, control);
      };
    }
    return TrainingRun(parts).Run();
  }

  v1::JobEvent Notice(v1::JobEvent::Severity severity, const std::string& reason, const std::string& message) const {
    return MakeEvent(WallNanos(), severity, reason, message);
  }

  std::int64_t WallNanos() const {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(env_.clock.WallNow().time_since_epoch()).count();
  }

  const v1::RunAttempt& run_;
  v1::JobSpec spec_;
  const v1::TrainingSpec& training_ = spec_.training();
  const AttemptEnvironment& env_;
  TelemetrySink& sink_;
  const Machine machine_{env_.threads, env_.device_name, CpuCapability(), TORCH_VERSION};

  TrainingData data_;
  std::int64_t windows_per_epoch_ = 1;
  std::int64_t total_iterations_ = 0;
  std::int64_t free_bytes_ = 0;                 // on the device, before the run took any
  std::optional<v1::MicroBatchChosen> chosen_;  // where it is ours to choose
  ExecutionPlan plan_;
  std::optional<RunState> state_;
  RunCheckpointOptions checkpoint_options_;
  std::optional<RunCheckpoints> checkpoints_;
  std::string resumed_from_;
  std::vector<v1::JobEvent> notices_;  // said once the start has been
};

// LibTorch speaks in exceptions; here they end.
absl::StatusOr<RunOutcome> RunGuarded(Attempt& attempt, const std::string& device_name) {
  const auto out_of_memory = [&](const std::string& what) {
    return Because(v1::Reason::OUT_OF_DEVICE_MEMORY,
                   absl::ResourceExhaustedError(
                       absl::StrCat("training: the memory of ", device_name, " is used up (", what,
                                    "); use a smaller batch_size, more accumulation, or a device with more memory")));
  };
  try {
    return attempt.Run();
  } catch (const c10::OutOfMemoryError& error) {
    return out_of_memory(std::string(error.msg()));
  } catch (const std::bad_alloc&) {
    return out_of_memory("an allocation failed");
  } catch (const c10::Error& error) {
    if (error.msg().find("can't allocate memory") != std::string::npos) return out_of_memory("an allocation failed");
    return Because(v1::Reason::INTERNAL_ERROR,
                   absl::InternalError(absl::StrCat("the trainer failed: ", error.msg(), "; please report it")));
  } catch (const std::exception& error) {
    return Because(v1::Reason::INTERNAL_ERROR,
                   absl::InternalError(absl::StrCat("the trainer failed: ", error.what(), "; please report it")));
  }
}

void AddArtifacts(const SavedCheckpoint& saved, v1::AttemptEnded& ended) {
  const auto add = [&](const std::string& name, std::int64_t size, const std::string& sha256) {
    v1::Artifact& artifact = *ended.add_artifacts();
    artifact.set_name(name);
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
  const v1::JobSpec spec = spec::ResolveDefaults(run.spec());
  TelemetrySink sink(environment.channel, SinkOptions(run, spec.training()));
  const auto outcome = [&]() -> absl::StatusOr<RunOutcome> {
    if (absl::Status good = CheckSpec(spec); !good.ok()) return good;
    Attempt attempt(run, spec, environment, sink);
    return RunGuarded(attempt, environment.device_name);
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
    const bool whole = outcome->last_checkpoint && outcome->last_checkpoint->manifest.final;
    if (whole) AddArtifacts(*outcome->last_checkpoint, ended);
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
