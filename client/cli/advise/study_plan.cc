#include "client/cli/advise/study_plan.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "client/cli/advise/model_products.h"
#include "proto/spec/defaults.h"
#include "proto/spec/study_report.h"
#include "proto/spec/study_training.h"

namespace mantissa::cli {
namespace {

using Kind = v1::StudySpec::KindCase;

constexpr std::size_t kMaxName = 63;
constexpr int kMaxLabels = 64;
constexpr std::int32_t kWarmUp = 5;
constexpr std::int32_t kRounds = 10;  // of products: enough for a median

std::int32_t LengthOf(const v1::TrainingSpec& training, std::int32_t most) {
  const std::int64_t known = spec::KnownIterations(training);
  return known > 0 ? static_cast<std::int32_t>(std::min<std::int64_t>(known, most)) : most;
}

// A warm-up of the whole length would leave the short run at no learning rate to speak of.
void ShortenWarmUp(std::int32_t iterations, v1::ScheduleSpec& schedule) {
  const std::int32_t most = iterations / 4;
  if (schedule.has_constant())
    schedule.mutable_constant()->set_warmup_steps(std::min(schedule.constant().warmup_steps(), most));
  if (schedule.has_cosine())
    schedule.mutable_cosine()->set_warmup_steps(std::min(schedule.cosine().warmup_steps(), most));
  if (schedule.has_linear())
    schedule.mutable_linear()->set_warmup_steps(std::min(schedule.linear().warmup_steps(), most));
}

// What such a study trains: without what it does not read.
v1::TrainingSpec TrainingFor(Kind study, const v1::TrainingSpec& training, std::int32_t iterations) {
  v1::TrainingSpec shorter = training;
  shorter.set_iterations(iterations);
  ShortenWarmUp(iterations, *shorter.mutable_schedule());
  for (const spec::UnreadField& field : spec::UnreadFields(study)) spec::ClearField(shorter, field.path);
  return shorter;
}

bool HaveAttention(const google::protobuf::RepeatedPtrField<v1::Layer>& layers) {
  return std::any_of(layers.begin(), layers.end(), [](const v1::Layer& layer) {
    return layer.has_attention() || HaveAttention(layer.residual().layers());
  });
}

bool ReadsAttention(const v1::Model& model) {
  return model.has_gpt() || model.has_transformer_encoder() || HaveAttention(model.sequential().layers());
}

bool HasEmbedding(const v1::Model& model) {
  return model.has_gpt() || (model.has_sequential() && model.sequential().layers_size() > 0 &&
                             model.sequential().layers(0).has_embedding());
}

// Only what this model does: what it does not cannot go wrong in it. The loss is a sum in every model.
void ChooseFailures(const v1::TrainingSpec& training, v1::FailureModes& study) {
  const v1::Model& model = training.model();
  if (model.has_pathological()) study.add_modes(v1::FailureModes::PATHOLOGICAL_MODEL);
  if (ReadsAttention(model)) study.add_modes(v1::FailureModes::SOFTMAX_OVERFLOW);
  study.add_modes(v1::FailureModes::LARGE_REDUCTION);
  if (!training.optimizer().has_sgd()) study.add_modes(v1::FailureModes::SMALL_EPSILON);
  study.add_modes(v1::FailureModes::LOST_UPDATES);
  if (HasEmbedding(model)) study.add_modes(v1::FailureModes::EMBEDDING_GRADIENTS);
  study.set_seed(training.seed());
}

class Planner {
 public:
  Planner(const v1::JobSpec& job, const StudyPlanOptions& options)
      : job_(job), options_(options), iterations_(LengthOf(job.training(), options.iterations)) {}

  std::vector<v1::JobSpec> Plan() {
    v1::PrecisionComparison& comparison = *Add(Kind::kPrecisionComparison).mutable_precision_comparison();
    *comparison.mutable_training() = TrainingFor(Kind::kPrecisionComparison, job_.training(), iterations_);
    comparison.set_seeds(options_.seeds);
    comparison.set_warm_up_iterations(std::min(kWarmUp, iterations_ / 4));

    v1::GradientAnalysis& gradients = *Add(Kind::kGradientAnalysis).mutable_gradient_analysis();
    *gradients.mutable_training() = TrainingFor(Kind::kGradientAnalysis, job_.training(), iterations_);

    v1::ScalerStudy& scalers = *Add(Kind::kScalerStudy).mutable_scaler_study();
    *scalers.mutable_training() = TrainingFor(Kind::kScalerStudy, job_.training(), iterations_);

    v1::MemoryPlan& memory = *Add(Kind::kMemoryPlan).mutable_memory_plan();
    *memory.mutable_training() = TrainingFor(Kind::kMemoryPlan, job_.training(), iterations_);

    if (const std::vector<ModelProduct> products = ProductsOf(job_.training()); !products.empty()) {
      v1::TensorCore& tensor_core = *Add(Kind::kTensorCore).mutable_tensor_core();
      for (const ModelProduct& product : products) *tensor_core.add_shapes() = product.shape;
      tensor_core.set_rounds(kRounds);
    }
    ChooseFailures(job_.training(), *Add(Kind::kFailureModes).mutable_failure_modes());
    return std::move(plan_);
  }

 private:
  // `digits-fp16-memory_plan`; the beginning of a long name.
  std::string NameOf(Kind study) const {
    const std::string tail = absl::StrCat("-", std::string(spec::StudyName(study)));
    return job_.name().substr(0, kMaxName - tail.size()) + tail;
  }

  v1::StudySpec& Add(Kind study) {
    v1::JobSpec& spec = plan_.emplace_back();
    spec.set_name(NameOf(study));
    if (job_.labels_size() < kMaxLabels) *spec.mutable_labels() = job_.labels();
    (*spec.mutable_labels())[std::string(kAdviceLabel)] = options_.advice_id;
    spec.set_priority(job_.priority());
    if (job_.has_resources()) *spec.mutable_resources() = job_.resources();
    return *spec.mutable_study();
  }

  const v1::JobSpec& job_;
  const StudyPlanOptions& options_;
  const std::int32_t iterations_;
  std::vector<v1::JobSpec> plan_;
};

}  // namespace

std::vector<v1::JobSpec> PlanStudies(const v1::JobSpec& job, const StudyPlanOptions& options) {
  return Planner(job, options).Plan();
}

}  // namespace mantissa::cli
