#include "worker/studies/failures/failing_models.h"

#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_format.h"
#include <ATen/ATen.h>

#include "worker/data/load_data.h"
#include "worker/models/initialise.h"
#include "worker/studies/machine/timing.h"
#include "worker/studies/report/number_text.h"
#include "worker/studies/run/study_training.h"
#include "worker/studies/run/trial_run.h"
#include "worker/trainer/attempt_checks.h"
#include "worker/trainer/machine/host.h"

namespace mantissa::trainer {
namespace {

using Mode = v1::PrecisionSpec::Mode;

absl::StatusOr<std::unique_ptr<Dataset>> DataOf(const v1::TrainingSpec& training, const StudyEnvironment& environment) {
  auto data = LoadTrainingData(training, environment.roots, AvailableMemory(environment.memory_limit_bytes));
  if (!data.ok()) return DataError(data.status());
  data->train->MoveTo(environment.device);
  return std::move(data->train);
}

// What the second tanh is given, about: its slope is then 1e-6, which FP32 can still tell from 0.
constexpr double kSaturation = 7.5;

v1::TrainingSpec PathologicalSpec(std::uint64_t seed) {
  constexpr int kWidth = 100;
  v1::TrainingSpec training;
  training.set_seed(seed);
  training.set_batch_size(32);
  training.set_iterations(1);
  training.mutable_model()->mutable_pathological()->set_width(kWidth);
  v1::Synthetic& data = *training.mutable_data()->mutable_train()->mutable_synthetic();
  data.set_samples(32);
  data.set_seed(seed);
  data.add_shape(kWidth);
  return training;
}

// With weights of a thousand the second tanh is flat in FP32, too, and there is no gradient to lose. So its weights are
// made as large as the first layer's biases allow.
double WeightsForSaturation(const ParameterBuffer& parameters) {
  const double sum = parameters.at("tiny.bias").detach().to(at::kDouble).tanh().sum().item<double>();
  return kSaturation / std::max(std::abs(sum), 1e-3);
}

// Share of the gradients' elements that are 0: scaling alone turns none into 0 or back, so that no threshold has to
// know of it.
double ZeroShare(const ParameterBuffer& parameters) {
  std::int64_t zeros = 0;
  for (std::size_t i = 0; i < parameters.parameters().size(); ++i) {
    zeros += (parameters.ViewOf(parameters.gradients(), i) == 0).sum().item<std::int64_t>();
  }
  return static_cast<double>(zeros) / static_cast<double>(parameters.count());
}

double PathologicalZeros(v1::TrainingSpec training, Mode mode, double loss_scale, const Dataset& data,
                         const StudyEnvironment& environment, double* weights) {
  training.mutable_precision()->set_mode(mode);
  if (mode == v1::PrecisionSpec::FP16) training.mutable_precision()->mutable_loss_scale()->set_init(loss_scale);
  TrialRun run(WithDefaults(training), data, environment);
  ParameterBuffer& parameters = run.state().model().parameters();
  *weights = WeightsForSaturation(parameters);
  FillConstant(parameters.at("huge.weight"), *weights);
  parameters.CastWeights();
  run.FirstGradients();
  return ZeroShare(parameters);
}

struct OverheadModel {
  std::int32_t features = 32;
  std::vector<std::int32_t> hidden;
  std::int32_t batch = 16;
};

v1::TrainingSpec OverheadSpec(const OverheadModel& model, Mode mode, std::uint64_t seed) {
  v1::TrainingSpec training;
  training.set_seed(seed);
  training.set_batch_size(model.batch);
  training.set_iterations(1'000'000);
  training.mutable_precision()->set_mode(mode);
  training.mutable_model()->mutable_mlp()->mutable_hidden()->Add(model.hidden.begin(), model.hidden.end());
  v1::Synthetic& data = *training.mutable_data()->mutable_train()->mutable_synthetic();
  data.set_samples(4 * model.batch);
  data.set_seed(seed);
  data.add_shape(model.features);
  return WithDefaults(training);
}

struct Overhead {
  Timing full;
  Timing low;
};

// Each precision has a model of its own, a warm-up, and its turn in every round.
absl::StatusOr<std::optional<Overhead>> TimeOverhead(const OverheadModel& model, Mode low, std::uint64_t seed,
                                                     const StudyEnvironment& environment, Control& control) {
  const v1::TrainingSpec full_spec = OverheadSpec(model, v1::PrecisionSpec::FP32, seed);
  auto data = DataOf(full_spec, environment);
  if (!data.ok()) return data.status();
  TrialRun full(full_spec, **data, environment);
  TrialRun other(OverheadSpec(model, low, seed), **data, environment);
  const auto timings = TimeInTurn({[&] { full.Step(control); }, [&] { other.Step(control); }},
                                  {.device = environment.device, .rounds = 50, .turn_seconds = 5e-3, .most_seconds = 4},
                                  environment.clock, control);
  if (!timings) return std::nullopt;
  return Overhead{(*timings)[0], (*timings)[1]};
}

}  // namespace

absl::StatusOr<Experiment> PathologicalModel(std::uint64_t seed, const StudyEnvironment& environment) {
  constexpr double kScale = 65536;
  const v1::TrainingSpec training = PathologicalSpec(seed);
  auto data = DataOf(WithDefaults(training), environment);
  if (!data.ok()) return data.status();
  double weights = 0;
  const auto zeros = [&](Mode mode, double loss_scale) {
    return PathologicalZeros(training, mode, loss_scale, **data, environment, &weights);
  };
  Experiment experiment;
  experiment.mode = v1::FailureModes::PATHOLOGICAL_MODEL;
  experiment.quantity = "share of the gradients' elements that are 0";
  experiment.reference = zeros(v1::PrecisionSpec::FP32, 1);
  experiment.low = zeros(v1::PrecisionSpec::FP16, 1);
  experiment.remedied = zeros(v1::PrecisionSpec::FP16, kScale);
  experiment.tolerance = 0.05;
  experiment.only_above = true;
  experiment.setting = absl::StrFormat("A layer of weights of 1e-06 before one of %.3g, with tanh after both", weights);
  experiment.cause = "gradients that pass the flat tanh are below the smallest number of the format";
  experiment.remedy = absl::StrFormat("With a loss scale of %.0f", kScale);
  return experiment;
}

absl::StatusOr<std::optional<Experiment>> SmallModelOverhead(std::uint64_t seed, const StudyEnvironment& environment,
                                                             Control& control) {
  constexpr Mode kLow = v1::PrecisionSpec::BF16;
  const OverheadModel small = {.features = 32, .hidden = {64, 32}, .batch = 16};
  const OverheadModel large = environment.device.is_cpu()
                                  ? OverheadModel{.features = 256, .hidden = {512, 512}, .batch = 256}
                                  : OverheadModel{.features = 1024, .hidden = {8192, 8192}, .batch = 4096};
  auto of_small = TimeOverhead(small, kLow, seed, environment, control);
  if (!of_small.ok()) return of_small.status();
  if (!*of_small) return std::nullopt;
  auto of_large = TimeOverhead(large, kLow, seed, environment, control);
  if (!of_large.ok()) return of_large.status();
  if (!*of_large) return std::nullopt;

  Experiment experiment;
  experiment.mode = v1::FailureModes::SMALL_MODEL_OVERHEAD;
  experiment.precision = kLow;
  experiment.quantity = "time of an iteration relative to FP32's";
  experiment.reference = 1;
  experiment.low = (*of_small)->low.median_seconds / (*of_small)->full.median_seconds;
  experiment.remedied = (*of_large)->low.median_seconds / (*of_large)->full.median_seconds;
  experiment.tolerance = 0.1;
  experiment.only_above = true;
  experiment.setting = absl::StrFormat("A model of three layers, the widest 64, on batches of 16 (%s in FP32)",
                                       TimeText((*of_small)->full.median_seconds));
  // With large layers casts and launches do not count: what is no faster there is not slow for its size.
  const bool pays_when_large = experiment.remedied <= experiment.reference + experiment.tolerance;
  experiment.cause = pays_when_large ? "casts and launches cost more than products of this size save"
                                     : "on this device it saves no time with large layers, either";
  experiment.remedy = absl::StrFormat("With layers of %d and batches of %d (%s in FP32)", large.hidden.front(),
                                      large.batch, TimeText((*of_large)->full.median_seconds));
  return experiment;
}

}  // namespace mantissa::trainer
