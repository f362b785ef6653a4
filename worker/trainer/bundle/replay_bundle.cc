#include "worker/trainer/bundle/replay_bundle.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include <torch/headeronly/version.h>

#include "process/roots.h"
#include "proto/spec/overflow_words.h"
#include "worker/amp/cpu_arithmetic.h"
#include "worker/amp/loss_scaler.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/bundle/bundle.h"
#include "worker/trainer/bundle/bundled_data.h"
#include "worker/trainer/execution_plan.h"
#include "worker/trainer/lineage_start.h"
#include "worker/trainer/replay.h"
#include "worker/trainer/report/run_events.h"
#include "worker/trainer/run_checkpoints.h"

namespace mantissa::trainer {
namespace {

class NeverStop final : public Control {
 public:
  bool stop_requested() override { return false; }
};

struct LoadedBundle {
  Bundle bundle;
  LoadedState state;
};

absl::StatusOr<LoadedBundle> LoadBundle(const process::OpenRoot& root) {
  auto files = LoadFolder(root, "", "");
  if (!files.ok()) return files.status();
  const auto json = files->files.find(kBundleFile);
  if (json == files->files.end() || !files->files.contains(kBatchFile)) {
    return absl::InvalidArgumentError(
        "this is a checkpoint, not a bundle: BUNDLE.json or batch.safetensors is missing");
  }
  auto bundle = ParseBundle(json->second->bytes);
  if (!bundle.ok()) return bundle.status();
  auto state = StateIn(*std::move(files));
  if (!state.ok()) return state.status();
  return LoadedBundle{*std::move(bundle), *std::move(state)};
}

std::vector<std::string> NotesOf(const std::map<std::string, std::string>& saved, const ExecutionPlan& plan) {
  const std::vector<std::string> differences = PlanDifferences(saved, plan);
  if (differences.empty()) return {};
  return {absl::StrCat("not as it was, so the last bits may differ: ", absl::StrJoin(differences, ", "))};
}

bool SamePlace(const v1::OverflowLocation& a, const v1::OverflowLocation& b) {
  return a.stage() == b.stage() && a.module() == b.module() && a.parameter() == b.parameter() &&
         a.micro_batch() == b.micro_batch();
}

}  // namespace

absl::StatusOr<ReplayedBundle> ReplayBundle(const std::string& folder, const ReplayPlace& place) {
  auto root = process::OpenRoot::Open({"bundle", folder, /*writable=*/false});
  if (!root.ok()) return absl::NotFoundError("there is no such folder; mantissa bundle JOB fetches one");
  auto loaded = LoadBundle(*root);
  if (!loaded.ok()) return loaded.status();
  const Bundle& bundle = loaded->bundle;
  const v1::JobSpec spec = InLineage(bundle.spec, bundle.lineage);
  const v1::TrainingSpec& training = spec.training();
  if (absl::Status can = CheckArithmetic(training.precision(), place.precisions, place.device_name); !can.ok()) {
    return can;
  }
  if (absl::Status fits = CheckAgainstData(training, bundle.shape.sample); !fits.ok()) return fits;
  auto data = BundledData::From(bundle, *loaded->state.files.files.at(kBatchFile));
  if (!data.ok()) return data.status();
  data->MoveTo(place.device);

  const std::map<std::string, std::string>& saved = loaded->state.manifest.execution_plan;
  const Machine machine{place.threads, place.device_name, CpuCapability(), TORCH_VERSION};
  ExecutionPlan plan = FollowPlan(MakePlan(spec, bundle.shape.sample, machine), saved, spec, machine);
  const PrecisionModes lacking = LackingModes(training.precision(), place.precisions);
  plan.emulated = EmulatedText(lacking);
  ResetProcess(GlobalsOf(plan, training.precision().mode()));

  const std::vector<spec::Parameter> parameters = spec::ModelParameters(training.model(), bundle.shape.sample);
  RunState state(
      BuildModel(training.model(), bundle.shape.sample, training.seed(), place.device),
      RunStateOptions{training.optimizer(), training.schedule(), /*horizon=*/bundle.iteration,
                      ScalerSettingsFrom(training.precision(), training.max_grad_norm()), training.parameter_groups(),
                      WeightStorageOf(training.precision(), parameters, place.device), bundle.lineage.number()},
      place.device);
  if (absl::Status restored = state.Restore(loaded->state.snapshot); !restored.ok()) return restored;
  state.model().parameters().CastWeights();
  const BatchPlan batches({.samples = bundle.samples,
                           .batch_size = training.batch_size(),
                           .accumulation = training.accumulation(),
                           .seed = training.seed(),
                           .lineage = bundle.lineage});
  const PrecisionPolicy policy(training.precision(), parameters, lacking);
  StepProgram program(state, {*data, batches, policy, training.seed()});

  NeverStop control;
  const FaultLocation location = *Replay(state, program).Find(bundle.window, control);
  ReplayedBundle replayed;
  replayed.recorded = bundle.event.overflow();
  replayed.found = OverflowAt(location, replayed.recorded);
  const bool found = location.stage != FaultLocation::Stage::kNotReproduced;
  replayed.reproduced = found && (!replayed.recorded.has_location() ||
                                  replayed.recorded.location().stage() == v1::OverflowLocation::NOT_REPRODUCED ||
                                  SamePlace(replayed.recorded.location(), replayed.found.location()));
  replayed.notes = NotesOf(saved, plan);
  replayed.job_id = bundle.job_id;
  replayed.iteration = bundle.iteration;
  return replayed;
}

std::string ReplayText(const ReplayedBundle& replayed) {
  const v1::OverflowLocation& at = replayed.found.location();
  std::string text = absl::StrCat("iteration ", replayed.iteration, " of job ", replayed.job_id);
  if (replayed.found.has_loss_scale()) absl::StrAppend(&text, ", loss scale ", replayed.found.loss_scale());
  absl::StrAppend(&text, "\n");
  const bool found = at.stage() != v1::OverflowLocation::NOT_REPRODUCED;
  if (found) {
    absl::StrAppend(&text, v1::SkipCause::Code_Name(replayed.found.cause()), ": began in ", spec::LocationWords(at),
                    "\n");
  } else {
    absl::StrAppend(&text, "everything is finite here\n");
  }
  if (replayed.recorded.has_location() && found && !replayed.reproduced) {
    absl::StrAppend(&text, "the attempt found it in ", spec::LocationWords(replayed.recorded.location()), "\n");
  }
  for (const std::string& note : replayed.notes) absl::StrAppend(&text, note, "\n");
  return absl::StrCat(text, replayed.reproduced ? "REPRODUCED\n" : "NOT REPRODUCED\n");
}

}  // namespace mantissa::trainer
