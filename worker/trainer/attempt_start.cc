#include "worker/trainer/attempt_start.h"

#include <chrono>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <ATen/ATen.h>

#include "proto/spec/defaults.h"
#include "worker/amp/loss_scaler.h"
#include "worker/data/data_size.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/initialise_from.h"
#include "worker/trainer/lineage_start.h"
#include "worker/trainer/machine/host.h"
#include "worker/trainer/machine/process_globals.h"
#include "worker/trainer/micro_batch.h"
#include "worker/trainer/replay.h"
#include "worker/trainer/report/run_events.h"
#include "worker/trainer/step_program.h"

namespace mantissa::trainer {
namespace {

constexpr char kCheckpointsRoot[] = "checkpoints";

}  // namespace

absl::Status AttemptStart::Build() {
  for (const auto part :
       {&AttemptStart::ReadData, &AttemptStart::FitMemory, &AttemptStart::BuildState, &AttemptStart::Resume,
        &AttemptStart::Initialise, &AttemptStart::TryMicroBatches, &AttemptStart::Reclaim}) {
    if (absl::Status done = (this->*part)(); !done.ok()) return done;
  }
  state_->model().parameters().CastWeights();  // whoever gave the values they begin with
  return absl::OkStatus();
}

v1::JobSpec AttemptStart::Submitted() const {
  v1::JobSpec submitted = spec::ResolveDefaults(run_.spec());
  submitted.mutable_training()->set_accumulation(training_.accumulation());
  submitted.mutable_training()->clear_micro_batch();
  return submitted;
}

PrecisionPolicy AttemptStart::Policy() const {
  return {training_.precision(), spec::ModelParameters(training_.model(), data_.train->shape().sample),
          LackingModes(training_.precision(), env_.precisions)};
}

BatchPlan AttemptStart::Batches() const {
  return BatchPlan({.samples = data_.train->size(),
                    .batch_size = training_.batch_size(),
                    .accumulation = training_.accumulation(),
                    .seed = training_.seed(),
                    .lineage = lineage_});
}

v1::TrainingStarted AttemptStart::Describe() {
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
  started.set_emulated(plan_.emulated != kNothingEmulated);
  *started.mutable_memory() =
      MemoryEstimateOf(EstimateAt(training_, data_.train->shape().sample, plan_.micro_batch), free_bytes_);
  return started;
}

absl::Status AttemptStart::ReadData() {
  if (absl::Status can = CheckArithmetic(training_.precision(), env_.precisions, env_.device_name); !can.ok())
    return can;
  // Data may be drawn, by all threads that the attempt may use, and not by those that another one left.
  const std::int32_t asked = spec_.resources().cpu_threads();
  ResetProcess({.threads = asked > 0 ? asked : env_.threads});
  auto data = LoadTrainingData(training_, env_.roots, AvailableMemory(env_.memory_limit_bytes));
  if (!data.ok()) return DataError(data.status());
  data_ = *std::move(data);
  if (absl::Status good = CheckAgainstData(training_, data_.train->shape().sample); !good.ok()) return good;
  windows_per_epoch_ = spec::IterationsPerEpoch(data_.train->size(), training_.batch_size());
  auto total = TotalIterations(training_, windows_per_epoch_);
  if (!total.ok()) return total.status();
  total_iterations_ = *total;
  free_bytes_ = FreeMemory(env_.device, env_.memory_limit_bytes);
  PlaceData();
  return absl::OkStatus();
}

// Data that would crowd the device stay on the host, and batches travel.
void AttemptStart::PlaceData() {
  const std::int64_t bytes = data_.train->bytes() + (data_.eval ? data_.eval->bytes() : 0);
  const bool fits = env_.device.is_cpu() || !CrowdsDevice(bytes, free_bytes_);
  for (Dataset* data : {data_.train.get(), data_.eval.get()}) {
    if (data == nullptr) continue;
    if (fits) {
      data->MoveTo(env_.device);
    } else {
      data->DeliverTo(env_.device);
    }
  }
  if (fits) return;
  Notice(v1::JobEvent::WARNING, "DATA_ON_HOST",
         absl::StrCat("the data take ", BytesText(bytes), ", more than half of the ", BytesText(free_bytes_),
                      " that are free on ", env_.device_name,
                      ": they stay in the host's memory, every batch is copied, and iterations are not recorded; use ",
                      "less data, or a device with more memory"));
}

// From here on the spec has an accumulation, chosen or given.
absl::Status AttemptStart::FitMemory() {
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

absl::Status AttemptStart::BuildState() {
  const spec::SampleShape& sample = data_.train->shape().sample;
  plan_ = MakePlan(spec_, sample, machine_);
  plan_.emulated = EmulatedText(LackingModes(training_.precision(), env_.precisions));
  ResetProcess(GlobalsOf(plan_, training_.precision().mode()));
  ScalerSettings scaler = ScalerSettingsFrom(training_.precision(), training_.max_grad_norm());
  scaler.replay_after = kQuietStretch;
  state_.emplace(
      BuildModel(training_.model(), sample, training_.seed(), env_.device),
      RunStateOptions{
          training_.optimizer(), training_.schedule(), total_iterations_, scaler, training_.parameter_groups(),
          WeightStorageOf(training_.precision(), spec::ModelParameters(training_.model(), sample), env_.device),
          lineage_.number()},
      env_.device);
  return absl::OkStatus();
}

absl::Status AttemptStart::Resume() {
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
                               .lineage = lineage_,
                               .execution_plan = {},
                               .versions = {{"mantissa", env_.version}, {"torch", TORCH_VERSION}}};
  if (run_.resume_from_size() > 0) {
    if (absl::Status resumed = RestoreFrom(RunCheckpoints(*root, options)); !resumed.ok()) return resumed;
  }
  checkpoint_options_ = std::move(options);
  return absl::OkStatus();
}

// Parameters to begin with, at the beginning.
absl::Status AttemptStart::Initialise() {
  if (!training_.has_init_from() || !at_the_beginning_) return absl::OkStatus();
  const InitialSources sources{.roots = env_.roots,
                               .checkpoints = *env_.roots.Find(kCheckpointsRoot),
                               .checkpoint = run_.has_init_from() ? &run_.init_from() : nullptr,
                               .max_bytes = AvailableMemory(env_.memory_limit_bytes)};
  auto from = InitialiseFrom(training_.init_from(), sources, *state_);
  if (from.ok()) {
    Notice(v1::JobEvent::INFO, "INITIALISED", *from);
    return absl::OkStatus();
  }
  if (absl::IsFailedPrecondition(from.status())) return Because(v1::Reason::BAD_SPEC, from.status());
  if (training_.init_from().source_case() == v1::InitFrom::kPath) return DataError(from.status());
  return Because(v1::Reason::CHECKPOINT_FAILED, from.status());
}

// Where the micro-batch is ours to choose: an attempt that goes on follows the job's first one; else a device whose
// allocator can say no has the last word.
absl::Status AttemptStart::TryMicroBatches() {
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

std::optional<std::int64_t> AttemptStart::PeakOfOneIteration(std::int64_t micro_batch) {
  FollowMicroBatch(micro_batch);
  ReleaseMemory(env_.device);
  ResetPeakMemory(env_.device);
  try {
    StepProgram program(*state_, {*data_.train, Batches(), Policy(), training_.seed()});
    program.Run(/*iteration=*/0, env_.control);
    state_->step_state();  // waits for the device
    return PeakMemory(env_.device);
  } catch (const c10::OutOfMemoryError&) {
    return std::nullopt;
  }
}

void AttemptStart::FollowMicroBatch(std::int64_t micro_batch) {
  plan_.micro_batch = micro_batch;
  spec_.mutable_training()->set_accumulation(AccumulationFor(training_.batch_size(), micro_batch));
}

// What earlier attempts left and nobody can want any more. Failing to is no reason not to train.
absl::Status AttemptStart::Reclaim() {
  if (!run_.has_committed()) return absl::OkStatus();
  const auto reclaimed = checkpoints_->Reclaim(run_.committed());
  if (!reclaimed.ok() || reclaimed->generations > 0) notices_.push_back(ReclaimedEvent(WallNanos(), reclaimed));
  return absl::OkStatus();
}

absl::Status AttemptStart::RestoreFrom(const RunCheckpoints& checkpoints) {
  auto loaded = checkpoints.Load(run_.resume_from());
  if (!loaded.ok()) {
    Notice(v1::JobEvent::ERROR, "CHECKPOINT_DAMAGED", std::string(loaded.status().message()));
    // Generation 0 is what the seed has given already.
    const bool generation_zero = run_.resume_from().rbegin()->iteration() == 0;
    if (generation_zero || spec_.retry().restart_without_checkpoint()) return absl::OkStatus();
    return Because(v1::Reason::CHECKPOINT_FAILED,
                   absl::DataLossError(
                       absl::StrCat(loaded.status().message(),
                                    "; repair the storage, or set retry.restart_without_checkpoint to start again")));
  }
  for (const std::string& damage : loaded->damaged) {
    Notice(v1::JobEvent::ERROR, "CHECKPOINT_DAMAGED", damage);
  }
  if (absl::Status taken = TakeOver(*loaded); !taken.ok()) return Because(v1::Reason::CHECKPOINT_FAILED, taken);
  resumed_from_ = loaded->name;
  const std::map<std::string, std::string>& saved = loaded->manifest.execution_plan;
  const std::int64_t micro_batch = plan_.micro_batch;
  plan_ = FollowPlan(plan_, saved, spec_, machine_);
  if (ChoosesMicroBatch()) {
    const bool fits = EstimateAt(training_, data_.train->shape().sample, plan_.micro_batch).Total() <= free_bytes_;
    FollowMicroBatch(fits ? plan_.micro_batch : micro_batch);
  }
  ResetProcess(GlobalsOf(plan_, training_.precision().mode()));
  std::vector<std::string> differences = PlanDifferences(saved, plan_);
  if (loaded->manifest.data_cursor.windows_per_epoch != windows_per_epoch_) {
    differences.push_back(absl::StrCat("windows_per_epoch (was ", loaded->manifest.data_cursor.windows_per_epoch,
                                       ", is ", windows_per_epoch_, ": the data changed)"));
  }
  if (!differences.empty()) {
    Notice(v1::JobEvent::WARNING, "RESUME_NOT_BITWISE",
           absl::StrCat("resumed, but the results may differ in their last bits: ", absl::StrJoin(differences, ", ")));
  }
  return absl::OkStatus();
}

absl::Status AttemptStart::TakeOver(LoadedState& loaded) {
  if (!loaded.manifest.initial) {
    at_the_beginning_ = false;
    BeginLineage(lineage_, loaded.manifest, state_->iteration_state().settings(), loaded.snapshot);
    return state_->Restore(loaded.snapshot);
  }
  if (loaded.manifest.initial->seed == training_.seed()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(loaded.name, " begins from seed ", loaded.manifest.initial->seed,
                                                    ", and training.seed is ", training_.seed()));
}

void AttemptStart::Notice(v1::JobEvent::Severity severity, const std::string& reason, const std::string& message) {
  notices_.push_back(MakeEvent(WallNanos(), severity, reason, message));
}

std::int64_t AttemptStart::WallNanos() const {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(env_.clock.WallNow().time_since_epoch()).count();
}

}  // namespace mantissa::trainer
