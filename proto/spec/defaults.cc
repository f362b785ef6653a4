#include "proto/spec/defaults.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "proto/spec/lineage.h"
#include "proto/spec/model_defaults.h"
#include "proto/spec/model_shape.h"
#include "proto/spec/study_defaults.h"
#include "proto/spec/study_report.h"

namespace mantissa::spec {
namespace {

constexpr std::int64_t kEvaluationsPerRun = 10;

#define DEFAULT(message, field, value) \
  if (!(message).has_##field()) (message).set_##field(value)

// Where the spec says none: 64 features, as a sequence or an image for a model that reads one.
std::vector<std::int32_t> DefaultShape(const v1::Model& model) {
  if (model.has_transformer_encoder() || model.has_convnet()) return {8, 8};
  if (model.has_pathological()) return {100};
  if (!model.has_sequential() || model.sequential().layers_size() == 0) return {64};
  switch (model.sequential().layers(0).kind_case()) {
    case v1::Layer::kConv2D:
    case v1::Layer::kMaxPool1D:
    case v1::Layer::kMaxPool2D:
    case v1::Layer::kAveragePool1D:
    case v1::Layer::kAveragePool2D:
    case v1::Layer::kGlobalAveragePool:
    case v1::Layer::kAttention:
      return {8, 8};
    default:
      return {64};
  }
}

void ResolveSource(v1::DataSource& source, const v1::Model& model) {
  if (source.has_synthetic()) {
    v1::Synthetic& synthetic = *source.mutable_synthetic();
    DEFAULT(synthetic, samples, 4096);
    DEFAULT(synthetic, classes, 10);
    if (synthetic.shape_size() == 0 && !ReadsTokens(model)) {
      for (const std::int32_t entry : DefaultShape(model)) synthetic.add_shape(entry);
    }
  } else if (source.has_idx()) {
    DEFAULT(*source.mutable_idx(), full_scale, 255.0);
  } else if (source.has_tokens()) {
    DEFAULT(*source.mutable_tokens(), vocabulary, kGpt2Vocabulary);
  }
}

void ResolvePrecision(v1::PrecisionSpec& precision) {
  using Spec = v1::PrecisionSpec;
  if (precision.mode() == Spec::MODE_UNSPECIFIED) precision.set_mode(Spec::BF16);
  if (precision.mode() == Spec::FP16) {
    v1::LossScaleSpec& scale = *precision.mutable_loss_scale();
    const v1::LossScaleSpec given = scale;
    if (scale.preset() == v1::LossScaleSpec::PRESET_UNSPECIFIED) scale.set_preset(v1::LossScaleSpec::TORCH);
    scale = LossScalePreset(scale.preset());
    scale.MergeFrom(given);  // explicit presence: what was given replaces the preset's
  }
  if (precision.on_failure() == Spec::ON_FAILURE_UNSPECIFIED) precision.set_on_failure(DefaultOnFailure(precision));
  if (precision.has_loss_spike()) {
    v1::LossSpikeGuard& guard = *precision.mutable_loss_spike();
    if (guard.action() == v1::LossSpikeGuard::ACTION_UNSPECIFIED) guard.set_action(v1::LossSpikeGuard::ADVISE);
    DEFAULT(guard, factor, 2.0);
    DEFAULT(guard, iterations, 3);
  }
  if (MayRollBack(precision)) DEFAULT(precision, max_rollbacks, kDefaultMaxRollbacks);
  if (precision.storage() == Spec::STORAGE_UNSPECIFIED) precision.set_storage(Spec::FP32_PARAMETERS);
  DEFAULT(precision, check_loss, true);
  DEFAULT(precision, statistics_window, 1000);
}

template <typename AdamKind>
void ResolveAdam(AdamKind& adam) {
  DEFAULT(adam, learning_rate, 1e-3);
  DEFAULT(adam, beta1, 0.9);
  DEFAULT(adam, beta2, 0.999);
  DEFAULT(adam, epsilon, 1e-8);
}

void ResolveOptimizer(v1::OptimizerSpec& optimizer) {
  switch (optimizer.kind_case()) {
    case v1::OptimizerSpec::KIND_NOT_SET:
    case v1::OptimizerSpec::kAdamw:
      ResolveAdam(*optimizer.mutable_adamw());
      DEFAULT(*optimizer.mutable_adamw(), weight_decay, 0.01);
      break;
    case v1::OptimizerSpec::kAdam:
      ResolveAdam(*optimizer.mutable_adam());
      break;
    case v1::OptimizerSpec::kSgd:
      DEFAULT(*optimizer.mutable_sgd(), learning_rate, 1e-2);
      DEFAULT(*optimizer.mutable_sgd(), momentum, 0.9);
      break;
  }
}

void ResolveResources(v1::ResourceSpec& resources) {
  if (resources.device() == v1::ResourceSpec::DEVICE_UNSPECIFIED) resources.set_device(v1::ResourceSpec::AUTO);
  if (resources.device() == v1::ResourceSpec::CUDA && !resources.has_gpus()) resources.set_gpus(1);
}

void DefaultSeconds(bool given, google::protobuf::Duration* duration, std::int64_t seconds) {
  if (!given) duration->set_seconds(seconds);
}

}  // namespace

void ResolveTraining(v1::TrainingSpec& training) {
  v1::Data& data = *training.mutable_data();
  ResolveSource(*data.mutable_train(), training.model());
  if (data.has_eval()) ResolveSource(*data.mutable_eval(), training.model());
  ResolveModel(*training.mutable_model(), data.train());
  ResolvePrecision(*training.mutable_precision());
  ResolveOptimizer(*training.mutable_optimizer());
  if (training.schedule().kind_case() == v1::ScheduleSpec::KIND_NOT_SET) {
    training.mutable_schedule()->mutable_constant();
  }
  DEFAULT(training, batch_size, 64);
  if (training.micro_batch() != v1::MicroBatch::AUTO) DEFAULT(training, accumulation, 1);
  DEFAULT(training, max_grad_norm, 1.0);
  if (training.length_case() == v1::TrainingSpec::LENGTH_NOT_SET) training.set_epochs(1);
  if (const std::int64_t iterations = KnownIterations(training); data.has_eval() && iterations > 0) {
    DEFAULT(*training.mutable_evaluation(), every_steps, EvaluationInterval(iterations));
  }
  DEFAULT(*training.mutable_checkpoint(), keep, 2);
  DEFAULT(*training.mutable_telemetry(), every_iterations, 1);
  DEFAULT(*training.mutable_telemetry(), ranges_every_iterations, 100);
  if (training.execution().mode() == v1::ExecutionSpec::MODE_UNSPECIFIED) {
    training.mutable_execution()->set_mode(v1::ExecutionSpec::AUTO);
  }
}

v1::JobSpec ResolveDefaults(const v1::JobSpec& spec) {
  v1::JobSpec resolved = spec;
  if (resolved.name().empty()) {
    if (resolved.has_training()) resolved.set_name("training");
    if (resolved.has_study()) resolved.set_name(std::string(StudyName(resolved.study().kind_case())));
  }
  ResolveResources(*resolved.mutable_resources());
  v1::RetryPolicy& retry = *resolved.mutable_retry();
  DEFAULT(retry, max_attempts, 4);
  // The presence is read before mutable_ creates the message.
  const bool initial_backoff = retry.has_initial_backoff();
  const bool max_backoff = retry.has_max_backoff();
  DefaultSeconds(initial_backoff, retry.mutable_initial_backoff(), 1);
  DefaultSeconds(max_backoff, retry.mutable_max_backoff(), 60);
  v1::TimeoutSpec& timeouts = *resolved.mutable_timeouts();
  const bool start = timeouts.has_start();
  const bool stall = timeouts.has_stall();
  DefaultSeconds(start, timeouts.mutable_start(), kDefaultStart.count());
  DefaultSeconds(stall, timeouts.mutable_stall(), kDefaultStall.count());
  if (resolved.on_disconnect() == v1::JobSpec::ON_DISCONNECT_UNSPECIFIED) resolved.set_on_disconnect(v1::JobSpec::KEEP);
  if (resolved.has_training()) ResolveTraining(*resolved.mutable_training());
  if (resolved.has_study()) ResolveStudy(*resolved.mutable_study());
  return resolved;
}

#undef DEFAULT

std::int32_t EvaluationInterval(std::int64_t total_iterations) {
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(total_iterations / kEvaluationsPerRun, 1, std::numeric_limits<std::int32_t>::max()));
}

std::int64_t IterationsPerEpoch(std::int64_t samples, std::int32_t batch_size) {
  if (samples < 1 || batch_size < 1) return 0;
  return (samples - 1) / batch_size + 1;
}

std::int64_t KnownIterations(const v1::TrainingSpec& training) {
  if (training.length_case() == v1::TrainingSpec::kIterations) return training.iterations();
  if (!training.data().train().has_synthetic()) return 0;
  return IterationsPerEpoch(training.data().train().synthetic().samples(), training.batch_size()) * training.epochs();
}

v1::LossScaleSpec LossScalePreset(v1::LossScaleSpec::Preset preset) {
  using Spec = v1::LossScaleSpec;
  Spec scale;
  scale.set_preset(preset);
  scale.set_init(preset == Spec::MEGATRON ? 0x1p32 : 0x1p16);
  scale.set_growth_factor(2);
  scale.set_backoff_factor(0.5);
  const bool thousand = preset == Spec::MEGATRON || preset == Spec::DEEPSPEED;
  scale.set_growth_interval(thousand ? 1000 : 2000);
  scale.set_hysteresis(thousand || preset == Spec::APEX_HYSTERESIS ? 2 : 1);
  scale.set_consecutive_hysteresis(preset == Spec::APEX_HYSTERESIS);
  scale.set_min(thousand ? 1 : 0);
  scale.set_max(preset == Spec::APEX ? 0x1p24 : 0);
  return scale;
}

v1::PrecisionSpec::OnFailure DefaultOnFailure(const v1::PrecisionSpec& precision) {
  using Spec = v1::PrecisionSpec;
  if (precision.fallback_size() > 0) return Spec::FALLBACK;
  const bool megatron = precision.loss_scale().preset() == v1::LossScaleSpec::MEGATRON;
  return precision.mode() == Spec::FP16 && megatron ? Spec::CLAMP : Spec::FAIL;
}

}  // namespace mantissa::spec
