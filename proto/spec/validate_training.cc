#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "proto/spec/defaults.h"
#include "proto/spec/layer_plan.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/module_precision.h"
#include "proto/spec/parameter_groups.h"
#include "proto/spec/validate.h"
#include "proto/spec/validate_parts.h"

namespace mantissa::spec {
namespace {

constexpr std::int32_t kMaxIterations = 1'000'000'000;
constexpr std::int32_t kMaxEpochs = 1'000'000;
constexpr std::int32_t kMaxBatch = 1'048'576;
// No machine we could run on has more; what a real one holds is decided where it is known.
constexpr std::int64_t kMaxModelBytes = std::int64_t{16} << 40;

void CheckLength(const v1::TrainingSpec& training, Checker& checker) {
  if (training.length_case() == v1::TrainingSpec::kIterations) {
    checker.Whole("iterations", training.iterations(), 1, kMaxIterations, 1000);
  } else if (checker.Whole("epochs", training.epochs(), 1, kMaxEpochs, 10) &&
             KnownIterations(training) > kMaxIterations) {
    checker.Add("epochs", ViolationReason::kOutOfRange,
                absl::StrCat("make ", KnownIterations(training), " iterations of this data and batch_size; at most ",
                             kMaxIterations, " are allowed: lower epochs or raise batch_size"));
  }
}

void CheckEvaluation(const v1::TrainingSpec& training, Checker checker) {
  const v1::EvaluationSpec& evaluation = training.evaluation();
  const bool every = checker.Whole("every_steps", evaluation.every_steps(), 0, kMaxIterations, 100);
  const bool batches = checker.Whole("max_batches", evaluation.max_batches(), 0, kMaxIterations, 10);
  const bool wanted = evaluation.every_steps() > 0 || evaluation.max_batches() > 0;
  if (every && batches && wanted && !training.data().has_eval()) {
    checker.Add("", ViolationReason::kConflict,
                "asks for evaluation, but there is no held-out data; add training.data.eval, or remove this section");
  }
}

void CheckSize(const v1::TrainingSpec& training, Checker& checker) {
  // Files may hold anything, so they count as the smallest sample: what is too large even so is refused here.
  SampleShape smallest;
  smallest.features =
      training.model().has_transformer_encoder() ? std::vector<std::int64_t>{1, 1} : std::vector<std::int64_t>{1};
  smallest.classes = 2;
  const std::optional<SampleShape> known = SampleShapeOf(training);
  // Layers need not fit the smallest sample; what their files make of them is known to the worker.
  if (!known && IsLayered(training.model())) return;
  const SampleShape sample = known.value_or(smallest);
  const std::int64_t bytes = EstimateModelBytes(training, sample).Total();
  if (bytes <= kMaxModelBytes) return;
  const std::int64_t count = ParameterCount(ModelParameters(training.model(), sample));
  checker.Add("model", ViolationReason::kOutOfRange,
              absl::StrCat("has ", count, " parameters and needs about ", bytes >> 30,
                           " GiB with this batch_size, gradients and optimizer state; at most ", kMaxModelBytes >> 30,
                           " GiB are allowed: lower its widths or layers, or batch_size"));
}

// Files may hold samples of any width; one that no layer has leaves out no parameter that there may be, so that only
// what can cover nothing is refused here. The trainer looks again.
std::vector<Parameter> PossibleParameters(const v1::TrainingSpec& training) {
  SampleShape any;
  any.features = {1, training.model().transformer_encoder().d_model() + std::int64_t{1}};
  any.classes = 2;
  return ModelParameters(training.model(), SampleShapeOf(training).value_or(any));
}

// `shaped`: model and data are right, so that the parameters can be listed.
void CheckGroups(const v1::TrainingSpec& training, bool shaped, Checker& checker) {
  if (training.parameter_groups_size() == 0) return;
  const std::size_t before = checker.count();
  CheckParameterGroups(training, checker);
  if (!shaped || checker.count() > before) return;
  for (Violation& idle : FindIdleGroups(training.parameter_groups(), PossibleParameters(training))) {
    checker.Add(std::move(idle));
  }
}

// The same of what `precision` says of single modules, which has been checked by itself.
void CheckModules(const v1::TrainingSpec& training, bool shaped, Checker& checker) {
  if (!shaped || training.precision().overrides_size() == 0) return;
  for (Violation& idle : FindIdleOverrides(training.precision(), PossibleParameters(training))) {
    checker.Add(std::move(idle));
  }
}

constexpr int kMaxRenames = 10'000;
constexpr std::size_t kJobIdSize = 26;

void CheckJobId(const std::string& id, Checker& checker) {
  const bool right = id.size() == kJobIdSize && std::all_of(id.begin(), id.end(), [](char c) {
                       return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
                     });
  if (right) return;
  checker.Add(
      "job_id", ViolationReason::kInvalidFormat,
      absl::StrCat("is ", Shown(id), "; a job's id has 26 digits and lower-case letters, as `mantissa list` shows"));
}

void CheckRenames(const v1::InitFrom& init_from, Checker& checker) {
  if (init_from.rename_size() > kMaxRenames) {
    checker.Add("rename", ViolationReason::kOutOfRange,
                absl::StrCat("has ", init_from.rename_size(), " entries; at most ", kMaxRenames, " are allowed"));
    return;
  }
  // In order, so that the same spec gets the same answer.
  const std::map<std::string, std::string> renames(init_from.rename().begin(), init_from.rename().end());
  std::map<std::string, std::string> taken;
  for (const auto& [from, to] : renames) {
    const std::string field = absl::StrCat("rename[", Shown(from), "]");
    if (from.empty() || to.empty()) {
      checker.Add(field, ViolationReason::kRequired,
                  "has an empty name; write the source's name, then ours, such as {fc.weight: head.weight}");
    } else if (const auto [other, is_new] = taken.try_emplace(to, from); !is_new) {
      checker.Add(field, ViolationReason::kConflict,
                  absl::StrCat("becomes ", Shown(to), ", as ", Shown(other->second), " does; leave one of them out"));
    }
  }
}

void CheckInitFrom(const v1::InitFrom& init_from, Checker checker) {
  switch (init_from.source_case()) {
    case v1::InitFrom::kJobId:
      CheckJobId(init_from.job_id(), checker);
      break;
    case v1::InitFrom::kPath:
      checker.Path("path", init_from.path());
      if (init_from.step() != 0) {
        checker.Add("step", ViolationReason::kConflict,
                    "is given, but a file has no steps; remove it, or name a job_id");
      }
      break;
    case v1::InitFrom::SOURCE_NOT_SET:
      checker.Add("", ViolationReason::kRequired,
                  "names no source; give the job_id of a job, or the path of a safetensors file");
      break;
  }
  checker.Whole("step", init_from.step(), 0, kMaxIterations, 200);
  CheckRenames(init_from, checker);
}

// True when it is right, so that sizes can be worked out.
bool CheckAccumulation(const v1::TrainingSpec& training, Checker& checker) {
  const auto choice = training.micro_batch();
  if (!checker.KnownEnum("micro_batch", choice, v1::MicroBatch::Choice_IsValid(choice))) return false;
  if (choice == v1::MicroBatch::AUTO) {
    if (!training.has_accumulation()) return true;
    checker.Add("accumulation", ViolationReason::kConflict,
                "is given beside micro_batch AUTO, which chooses it; remove one of the two");
    return false;
  }
  return checker.Whole("accumulation", training.accumulation(), 1, kMaxBatch, 4);
}

}  // namespace

void CheckTraining(const v1::TrainingSpec& training, Checker checker) {
  const bool model = CheckModel(training.model(), checker.Beneath("model"));
  const bool data = CheckData(training.data(), training.model(), checker.Beneath("data"));
  const std::size_t before = checker.count();
  CheckPrecision(training.precision(), checker.Beneath("precision"));
  const bool precision = checker.count() == before;
  CheckOptimizer(training.optimizer(), checker.Beneath("optimizer"));
  CheckSchedule(training.schedule(), KnownIterations(training), checker.Beneath("schedule"));
  const bool batch = checker.Whole("batch_size", training.batch_size(), 1, kMaxBatch, 64);
  const bool accumulation = CheckAccumulation(training, checker);
  if (batch && accumulation && training.accumulation() > training.batch_size()) {
    checker.Add(
        "accumulation", ViolationReason::kConflict,
        absl::StrCat("is ", training.accumulation(), ", but a window of batch_size ", training.batch_size(),
                     " can't be cut into more micro-batches than it has samples; lower it, or raise batch_size"));
  }
  checker.Number("max_grad_norm", training.max_grad_norm(), {.min = 0, .max = 1e30}, "1.0 (0 turns clipping off)");
  CheckLength(training, checker);
  CheckEvaluation(training, checker.Beneath("evaluation"));
  Checker checkpoint = checker.Beneath("checkpoint");
  checkpoint.Whole("every_steps", training.checkpoint().every_steps(), 0, kMaxIterations, 200);
  checkpoint.Whole("keep", training.checkpoint().keep(), 2, 1000, 2);
  const auto bundle = training.checkpoint().bundle();
  checkpoint.KnownEnum("bundle", bundle, v1::CheckpointSpec::Bundle_IsValid(bundle));
  Checker telemetry = checker.Beneath("telemetry");
  telemetry.Whole("every_iterations", training.telemetry().every_iterations(), 1, 1'000'000, 1);
  telemetry.Whole("ranges_every_iterations", training.telemetry().ranges_every_iterations(), 0, 1'000'000, 100);
  Checker execution = checker.Beneath("execution");
  const auto mode = training.execution().mode();
  execution.KnownEnum("mode", mode, v1::ExecutionSpec::Mode_IsValid(mode));
  if (training.has_init_from()) CheckInitFrom(training.init_from(), checker.Beneath("init_from"));
  const std::optional<SampleShape> sample = SampleShapeOf(training);
  const bool fits = model && data && (!sample || CheckModelFits(training, *sample, checker.Beneath("model")));
  // Without the sample, the layers of a model that is made of them are known to the worker only.
  const bool shaped = fits && (sample || !IsLayered(training.model()));
  CheckGroups(training, shaped, checker);
  CheckModules(training, shaped && precision, checker);
  if (!fits || !batch || !accumulation) return;
  CheckSize(training, checker);
}

std::vector<Violation> ValidateModelFits(const v1::TrainingSpec& training, const SampleShape& sample) {
  std::vector<Violation> violations;
  CheckModelFits(training, sample, Checker(violations, "training.model"));
  return violations;
}

}  // namespace mantissa::spec
