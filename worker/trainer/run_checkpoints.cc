#include "worker/trainer/run_checkpoints.h"

#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <ATen/ATen.h>

#include "proto/spec/lineage.h"
#include "worker/trainer/tensor_type.h"

namespace mantissa::trainer {
namespace {

// Tensors on the CPU, contiguous, and views of their bytes. `kept` owns what had to be copied.
absl::StatusOr<CheckpointFile> FileOf(const std::string& name, const std::vector<NamedTensor>& tensors,
                                      std::vector<at::Tensor>& kept) {
  CheckpointFile file{.name = name, .tensors = {}, .metadata = {{"format", "pt"}}};
  for (const NamedTensor& tensor : tensors) {
    const std::optional<TensorType> type = TypeOf(tensor.tensor.scalar_type());
    if (!type) return absl::InternalError(absl::StrCat("tensor ", tensor.name, " has a type that cannot be saved"));
    const at::Tensor& host = kept.emplace_back(tensor.tensor.detach().to(at::kCPU).contiguous());
    file.tensors.push_back({tensor.name, *type, host.sizes().vec(),
                            std::string_view(static_cast<const char*>(host.const_data_ptr()), host.nbytes())});
  }
  return file;
}

absl::StatusOr<std::vector<NamedTensor>> TensorsIn(const LoadedCheckpoint& checkpoint, const std::string& name) {
  const auto file = checkpoint.files.find(name);
  if (file == checkpoint.files.end()) return absl::DataLossError(absl::StrCat(name, " is not in the manifest"));
  std::vector<NamedTensor> tensors;
  for (const TensorView& view : file->second->tensors.tensors) {
    const std::optional<at::ScalarType> type = ScalarTypeOf(view.type);
    if (!type) return absl::DataLossError(absl::StrCat("tensor ", view.name, " has a type that no state has"));
    // Only read from; the files outlive the snapshot.
    tensors.push_back({view.name, at::from_blob(const_cast<char*>(view.bytes.data()), view.shape, at::dtype(*type))});
  }
  return tensors;
}

StepState StepStateOf(const Manifest& manifest) {
  StepState state;
  state.iteration = manifest.iteration;
  state.step = manifest.step;
  state.loss_scale = manifest.scaler.loss_scale;
  state.growth_tracker = manifest.scaler.growth_tracker;
  state.hysteresis_tracker = manifest.scaler.hysteresis_tracker;
  state.skips_in_row = manifest.scaler.skips_in_row;
  return state;
}

}  // namespace

absl::StatusOr<LoadedState> StateIn(LoadedCheckpoint files) {
  auto model = TensorsIn(files, kModelFile);
  if (!model.ok()) return model.status();
  auto optimizer = TensorsIn(files, kOptimizerFile);
  if (!optimizer.ok()) return optimizer.status();
  LoadedState loaded;
  loaded.snapshot = {*std::move(model), *std::move(optimizer), StepStateOf(files.manifest), files.manifest.lineage};
  loaded.manifest = files.manifest;
  loaded.files = std::move(files);
  return loaded;
}

Manifest RunCheckpoints::Facts(const RunState& state, const RunSnapshot& view, std::int64_t time_unix_nanos) const {
  Manifest facts;
  facts.job_id = options_.job_id;
  facts.attempt = options_.attempt;
  facts.step = view.step.step;
  facts.iteration = view.step.iteration;
  facts.lineage = view.lineage;
  facts.precision = v1::PrecisionSpec::Mode_Name(options_.lineage.precision());
  facts.finite = state.IsFinite();
  facts.create_time_unix_nanos = time_unix_nanos;
  facts.scaler = {view.step.loss_scale, view.step.growth_tracker, view.step.hysteresis_tracker, view.step.skips_in_row};
  const std::int64_t window = spec::WindowAfter(options_.lineage, view.step.iteration);
  facts.data_cursor = {window / options_.windows_per_epoch, window % options_.windows_per_epoch,
                       options_.windows_per_epoch};
  facts.execution_plan = options_.execution_plan;
  facts.versions = options_.versions;
  return facts;
}

absl::StatusOr<SavedCheckpoint> RunCheckpoints::Save(const RunState& state, bool final,
                                                     std::int64_t time_unix_nanos) const {
  const RunSnapshot view = state.View();
  Manifest facts = Facts(state, view, time_unix_nanos);
  facts.final = final;
  std::vector<at::Tensor> kept;
  auto model = FileOf(kModelFile, view.model, kept);
  if (!model.ok()) return model.status();
  auto optimizer = FileOf(kOptimizerFile, view.optimizer, kept);
  if (!optimizer.ok()) return optimizer.status();
  return store_.Save(facts, std::vector<CheckpointFile>{*std::move(model), *std::move(optimizer)});
}

absl::StatusOr<SavedCheckpoint> RunCheckpoints::SaveGenerationZero(const RunState& state, std::uint64_t seed,
                                                                   std::int64_t time_unix_nanos) const {
  Manifest facts = Facts(state, state.View(), time_unix_nanos);
  facts.initial = InitialState{seed};
  return store_.Save(facts, {});
}

absl::StatusOr<SavedCheckpoint> RunCheckpoints::SaveBundle(const RunState& state, const IterationStart& start,
                                                           const std::vector<NamedTensor>& batches,
                                                           const std::string& bundle_json,
                                                           std::int64_t time_unix_nanos) const {
  RunSnapshot view = state.View();
  view.step.iteration = start.iteration;
  view.step.loss_scale = static_cast<float>(start.loss_scale);
  view.step.skips_in_row = 0;
  std::vector<at::Tensor> kept;
  std::vector<CheckpointFile> files;
  const std::pair<const char*, const std::vector<NamedTensor>*> parts[] = {
      {kModelFile, &view.model}, {kOptimizerFile, &view.optimizer}, {kBatchFile, &batches}};
  for (const auto& [name, tensors] : parts) {
    auto file = FileOf(name, *tensors, kept);
    if (!file.ok()) return file.status();
    files.push_back(*std::move(file));
  }
  files.push_back({.name = kBundleFile, .tensors = {}, .metadata = {}, .text = bundle_json});
  return store_.SaveBundle(Facts(state, view, time_unix_nanos), files);
}

v1::Checkpoint RunCheckpoints::Describe(const SavedCheckpoint& saved) const {
  constexpr std::int64_t kNanosPerSecond = 1'000'000'000;
  v1::Checkpoint checkpoint;
  checkpoint.set_job_id(options_.job_id);
  checkpoint.set_attempt(options_.attempt);
  checkpoint.set_name(saved.name);
  checkpoint.set_step(static_cast<std::int32_t>(saved.manifest.step));
  checkpoint.set_iteration(static_cast<std::int32_t>(saved.manifest.iteration));
  checkpoint.mutable_create_time()->set_seconds(saved.manifest.create_time_unix_nanos / kNanosPerSecond);
  checkpoint.mutable_create_time()->set_nanos(
      static_cast<std::int32_t>(saved.manifest.create_time_unix_nanos % kNanosPerSecond));
  checkpoint.set_storage_id(options_.storage_id);
  checkpoint.set_path(saved.path);
  checkpoint.set_size_bytes(saved.size_bytes);
  checkpoint.set_manifest_sha256(saved.manifest_sha256);
  checkpoint.set_finite(saved.manifest.finite);
  checkpoint.set_final(saved.manifest.final);
  checkpoint.set_lineage(saved.manifest.lineage);
  return checkpoint;
}

absl::StatusOr<LoadedState> RunCheckpoints::Load(
    const google::protobuf::RepeatedPtrField<v1::Checkpoint>& candidates) const {
  std::vector<std::string> damaged;
  for (const v1::Checkpoint& candidate : candidates) {
    auto files = store_.Load(candidate.path(), candidate.manifest_sha256());
    absl::Status status = files.status();
    if (files.ok() && files->manifest.initial) {
      LoadedState loaded;
      loaded.manifest = files->manifest;
      loaded.name = candidate.name();
      loaded.damaged = std::move(damaged);
      return loaded;
    }
    if (files.ok()) {
      auto loaded = StateIn(*std::move(files));
      status = loaded.status();
      if (status.ok()) {
        loaded->name = candidate.name();
        loaded->damaged = std::move(damaged);
        return loaded;
      }
    }
    damaged.push_back(absl::StrCat("checkpoint ", candidate.name(), " cannot be used: ", status.message()));
  }
  return absl::DataLossError(absl::StrJoin(damaged, "; "));
}

absl::StatusOr<ReclaimedCheckpoints> RunCheckpoints::Reclaim(const v1::CommittedCheckpoints& committed) const {
  return store_.Reclaim(options_.attempt, {committed.names().begin(), committed.names().end()});
}

}  // namespace mantissa::trainer
