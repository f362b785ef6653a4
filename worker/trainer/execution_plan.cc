#include "worker/trainer/execution_plan.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "proto/spec/layer_plan.h"
#include "worker/trainer/micro_batch.h"

namespace mantissa::trainer {
namespace {

// One thread does about this many multiply-adds in 2 ms; below it a second one waits longer than it works.
constexpr std::int64_t kOperationsPerThread = std::int64_t{60} * 1000 * 1000;

constexpr char kThreads[] = "threads";
constexpr char kMicroBatch[] = "micro_batch";

std::int64_t SaturatingTimes(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

}  // namespace

std::int32_t ThreadsFor(std::int64_t operations, std::int32_t most) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(operations / kOperationsPerThread, 1, std::max(1, most)));
}

std::int64_t EstimateOperations(const v1::TrainingSpec& training, const spec::SampleShape& sample,
                                std::int64_t micro_batch) {
  if (spec::IsLayered(training.model())) {
    // A kernel is used at every place that it is moved to.
    const std::int64_t operations = spec::OperationsOf(spec::PlanLayers(training.model(), sample));
    return SaturatingTimes(SaturatingTimes(operations, micro_batch), 3);
  }
  const std::int64_t parameters = spec::ParameterCount(spec::ModelParameters(training.model(), sample));
  std::int64_t rows = micro_batch;
  if (training.model().has_gpt()) rows = SaturatingTimes(rows, training.model().gpt().context());
  if (training.model().has_transformer_encoder() && sample.features.size() > 1) {
    rows = SaturatingTimes(rows, sample.features.front());
  }
  return SaturatingTimes(SaturatingTimes(parameters, rows), 3);
}

ExecutionPlan MakePlan(const v1::JobSpec& spec, const spec::SampleShape& sample, const Machine& machine) {
  const v1::TrainingSpec& training = spec.training();
  ExecutionPlan plan;
  plan.micro_batch = MicroBatchOf(training.batch_size(), training.accumulation());
  plan.deterministic = training.execution().deterministic();
  plan.device = machine.device;
  plan.cpu_capability = machine.cpu_capability;
  plan.torch_version = machine.torch_version;
  const std::int32_t asked = spec.resources().cpu_threads();
  plan.threads =
      asked > 0 ? asked : ThreadsFor(EstimateOperations(training, sample, plan.micro_batch), machine.threads);
  return plan;
}

std::string EmulatedText(const std::vector<v1::PrecisionSpec::Mode>& modes) {
  if (modes.empty()) return kNothingEmulated;
  return absl::StrJoin(modes, "+", [](std::string* out, v1::PrecisionSpec::Mode mode) {
    out->append(v1::PrecisionSpec::Mode_Name(mode));
  });
}

ProcessGlobals GlobalsOf(const ExecutionPlan& plan, v1::PrecisionSpec::Mode mode) {
  return {.threads = plan.threads, .deterministic = plan.deterministic, .tf32 = mode == v1::PrecisionSpec::TF32};
}

std::map<std::string, std::string> PlanFields(const ExecutionPlan& plan) {
  return {{kThreads, absl::StrCat(plan.threads)},
          {"deterministic", plan.deterministic ? "true" : "false"},
          {kMicroBatch, absl::StrCat(plan.micro_batch)},
          {"device", plan.device},
          {"cpu_capability", plan.cpu_capability},
          {"torch_version", plan.torch_version},
          {"emulated", plan.emulated}};
}

ExecutionPlan FollowPlan(const ExecutionPlan& wanted, const std::map<std::string, std::string>& saved,
                         const v1::JobSpec& spec, const Machine& machine) {
  ExecutionPlan plan = wanted;
  const auto found = saved.find(kThreads);
  std::int32_t threads = 0;
  if (spec.resources().cpu_threads() == 0 && found != saved.end() && absl::SimpleAtoi(found->second, &threads) &&
      threads >= 1 && threads <= machine.threads) {
    plan.threads = threads;
  }
  const auto micro_batch = saved.find(kMicroBatch);
  std::int64_t samples = 0;
  if (spec.training().micro_batch() == v1::MicroBatch::AUTO && micro_batch != saved.end() &&
      absl::SimpleAtoi(micro_batch->second, &samples) && samples >= 1 && samples <= spec.training().batch_size()) {
    plan.micro_batch = samples;
  }
  return plan;
}

std::vector<std::string> PlanDifferences(const std::map<std::string, std::string>& saved, const ExecutionPlan& plan) {
  std::vector<std::string> differences;
  for (const auto& [field, value] : PlanFields(plan)) {
    const auto was = saved.find(field);
    if (was != saved.end() && was->second == value) continue;
    differences.push_back(
        absl::StrCat(field, " (was ", was == saved.end() ? "unknown" : was->second, ", is ", value, ")"));
  }
  return differences;
}

}  // namespace mantissa::trainer
